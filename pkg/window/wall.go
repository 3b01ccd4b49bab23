package window

import "time"

// reach is more than any offset from UTC that a zone ever had.
const reach = 26 * time.Hour

// segments calls yield with each stretch of constant offset of loc that touches [from, until), in order,
// cut to that range. It stops when yield returns false.
func segments(from, until time.Time, loc *time.Location, yield func(start, end time.Time, offset time.Duration) bool) {
	for at := from; at.Before(until); {
		local := at.In(loc)
		_, end := local.ZoneBounds()
		_, seconds := local.Zone()
		if end.IsZero() || end.After(until) {
			end = until
		}
		if !yield(at, end, time.Duration(seconds)*time.Second) {
			return
		}
		at = end
	}
}

// wall is a wall-clock reading: a UTC time whose fields are those of the clock on the wall.
func wall(t time.Time, loc *time.Location) time.Time {
	_, seconds := t.In(loc).Zone()
	return t.UTC().Add(time.Duration(seconds) * time.Second)
}

// midnight is the wall reading 00:00 of a wall reading's day.
func midnight(w time.Time) time.Time {
	return time.Date(w.Year(), w.Month(), w.Day(), 0, 0, 0, 0, time.UTC)
}

// first is the smallest instant whose wall reading is w or later: the first of two readings, or the
// instant after the gap.
func first(w time.Time, loc *time.Location) time.Time {
	found := w
	segments(w.Add(-reach), w.Add(reach), loc, func(start, end time.Time, offset time.Duration) bool {
		at := w.Add(-offset)
		if at.Before(start) {
			at = start
		}
		if at.Before(end) {
			found = at
			return false
		}
		return true
	})
	return found
}

// last is the smallest instant from which on every wall reading is w or later: the second of two
// readings, or the instant after the gap.
func last(w time.Time, loc *time.Location) time.Time {
	found := w
	segments(w.Add(-reach), w.Add(reach), loc, func(start, end time.Time, offset time.Duration) bool {
		at := w.Add(-offset)
		if at.After(end) {
			at = end
		}
		if at.After(start) {
			found = at
		}
		return true
	})
	return found
}

// steady returns the offset from UTC at t and the stretch in which it certainly is the only one that
// matters: no wall-clock reading in [from, until) was or will be shown by another offset.
func steady(t time.Time, loc *time.Location) (offset time.Duration, from, until time.Time) {
	local := t.In(loc)
	_, seconds := local.Zone()
	start, end := local.ZoneBounds()
	from, until = t.Add(-1000*reach), t.Add(1000*reach)
	if !start.IsZero() && start.Add(reach).After(from) {
		from = start.Add(reach)
	}
	if !end.IsZero() && end.Add(-reach).Before(until) {
		until = end.Add(-reach)
	}
	return time.Duration(seconds) * time.Second, from, until
}
