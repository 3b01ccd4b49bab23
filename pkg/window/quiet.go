package window

import (
	"fmt"
	"time"
)

const day = 24 * time.Hour

// Quiet is a daily window of wall-clock time, half-open, which may go over midnight. The zero Quiet is
// not usable; NewQuiet makes one.
type Quiet struct {
	// from and length, so that it ends at from+length, perhaps on the next day.
	from, length time.Duration
}

// NewQuiet reads the ends of a quiet window, such as "20:00" and "08:00". They must differ.
func NewQuiet(from, to string) (Quiet, error) {
	begin, err := clock(from)
	if err != nil {
		return Quiet{}, err
	}
	end, err := clock(to)
	if err != nil {
		return Quiet{}, err
	}
	if begin == end {
		return Quiet{}, fmt.Errorf("quiet window %s to %s: both ends are the same", from, to)
	}
	return Quiet{from: begin, length: (end - begin + day) % day}, nil
}

func clock(s string) (time.Duration, error) {
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, fmt.Errorf("time of day %q: want hh:mm", s)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

// String is the window as written: "20:00-08:00".
func (q Quiet) String() string {
	show := func(d time.Duration) string { return time.Time{}.Add(d % day).Format("15:04") }
	return show(q.from) + "-" + show(q.from+q.length)
}

// interval is the quiet window that begins on a day, given as its midnight by the wall clock.
func (q Quiet) interval(date time.Time, loc *time.Location) (start, end time.Time) {
	return first(date.Add(q.from), loc), last(date.Add(q.from+q.length), loc)
}

// around calls yield with the quiet windows that may hold t or come next, in order.
func (q Quiet) around(t time.Time, loc *time.Location, yield func(start, end time.Time) bool) {
	date := midnight(wall(t, loc))
	for d := -2; d <= 3; d++ {
		start, end := q.interval(date.AddDate(0, 0, d), loc)
		if start.Before(end) && !yield(start, end) {
			return
		}
	}
}

// Contains says whether t is quiet in loc. A time that the clock shows twice is quiet both times if a
// quiet window begins or ends in the repeated stretch: it begins at the first reading and ends at the last.
func (q Quiet) Contains(t time.Time, loc *time.Location) bool {
	_, quiet := q.endAt(t, loc)
	return quiet
}

func (q Quiet) endAt(t time.Time, loc *time.Location) (end time.Time, quiet bool) {
	if offset, ok := q.plain(t, loc); ok {
		into := q.into(t, offset)
		return t.Add(q.length - into), into < q.length
	}
	q.around(t, loc, func(s, e time.Time) bool {
		if !t.Before(s) && t.Before(e) {
			end, quiet = e, true
		}
		return !quiet
	})
	return end, quiet
}

// NextAllowed is the smallest instant not before t that is not quiet in loc.
func (q Quiet) NextAllowed(t time.Time, loc *time.Location) time.Time {
	// Windows of neighbouring days touch only where the clock changes; a week of them never does.
	for range 7 {
		end, quiet := q.endAt(t, loc)
		if !quiet {
			return t
		}
		t = end
	}
	return t
}

// NextStart is the smallest instant not before t that is quiet in loc.
func (q Quiet) NextStart(t time.Time, loc *time.Location) time.Time {
	if offset, ok := q.plain(t, loc); ok {
		into := q.into(t, offset)
		if into < q.length {
			return t
		}
		return t.Add(day - into)
	}
	found := t
	q.around(t, loc, func(s, e time.Time) bool {
		if !t.Before(e) {
			return true
		}
		if s.After(t) {
			found = s
		}
		return false
	})
	return found
}

// plain says that no change of the clock is near enough to t to matter, and returns the offset from UTC.
func (q Quiet) plain(t time.Time, loc *time.Location) (time.Duration, bool) {
	offset, from, until := steady(t, loc)
	return offset, !t.Add(-2*day).Before(from) && t.Add(2*day).Before(until)
}

// into is how long after the last beginning of the quiet window t is, at an offset from UTC.
func (q Quiet) into(t time.Time, offset time.Duration) time.Duration {
	w := t.UTC().Add(offset)
	return (w.Sub(midnight(w)) - q.from + day) % day
}
