package window

import "time"

// Unit is a calendar window.
type Unit int

// The units. A week begins on Monday.
const (
	Day Unit = iota + 1
	Week
	Month
)

// ParseUnit reads "day", "week" or "month"; false for anything else.
func ParseUnit(s string) (Unit, bool) {
	switch s {
	case "day":
		return Day, true
	case "week":
		return Week, true
	case "month":
		return Month, true
	}
	return 0, false
}

// String is the unit as written in definitions.
func (u Unit) String() string {
	switch u {
	case Day:
		return "day"
	case Week:
		return "week"
	case Month:
		return "month"
	}
	return "no unit"
}

// Longest is more than any window of the unit lasts, a clock put back included.
func (u Unit) Longest() time.Duration {
	const day = 24 * time.Hour
	switch u {
	case Day:
		return 2 * day
	case Week:
		return 8 * day
	case Month:
		return 32 * day
	}
	return 0
}

// Span is the calendar window [start, end) of loc that holds t. The windows of a zone follow each other
// without gap or overlap: where the clock is put back over midnight, the repeated hour belongs to the day
// that had already begun.
func (u Unit) Span(t time.Time, loc *time.Location) (start, end time.Time) {
	offset, from, until := steady(t, loc)
	begin := u.begin(midnight(t.UTC().Add(offset)))
	next := u.next(begin)
	if start, end = begin.Add(-offset), next.Add(-offset); !start.Before(from) && end.Before(until) {
		return start, end
	}
	start, end = first(begin, loc), first(next, loc)
	for !t.Before(end) {
		next = u.next(next)
		start, end = end, first(next, loc)
	}
	return start, end
}

func (u Unit) begin(day time.Time) time.Time {
	switch u {
	case Day:
		return day
	case Week:
		return day.AddDate(0, 0, -(int(day.Weekday())+6)%7)
	case Month:
		return day.AddDate(0, 0, 1-day.Day())
	}
	panic("window: no such unit")
}

func (u Unit) next(begin time.Time) time.Time {
	switch u {
	case Day:
		return begin.AddDate(0, 0, 1)
	case Week:
		return begin.AddDate(0, 0, 7)
	case Month:
		return begin.AddDate(0, 1, 0)
	}
	panic("window: no such unit")
}
