package window

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Period is a span of time as written in definitions: calendar years, months and days, which have no
// fixed length, and an exact time. It is never negative.
type Period struct {
	// Years and Months are calendar years and months.
	Years, Months int
	// Days are calendar days; a week is seven of them.
	Days int
	// Time is the exact part, hours and below.
	Time time.Duration
}

// maxYears bounds a period, so that no arithmetic on it can overflow.
const maxYears = 100

var (
	errPeriodForm = errors.New("not an ISO 8601 period such as P7D, PT4H or P1DT12H")
	errPeriodLong = fmt.Errorf("longer than %d years", maxYears)
)

// ParsePeriod reads an ISO 8601 period: P, then years (Y), months (M), weeks (W) and days (D), then T and
// hours (H), minutes (M) and seconds (S, which may have a fraction), in this order, at least one of them.
// Signs, fractions of anything else and periods over 100 years are errors.
func ParsePeriod(s string) (Period, error) {
	p, err := parsePeriod(s)
	if err == nil {
		return p, nil
	}
	if m := meant(s); m != "" {
		return Period{}, fmt.Errorf("write %s: %q is %w", m, s, err)
	}
	return Period{}, fmt.Errorf("%q is %w", s, err)
}

func parsePeriod(s string) (Period, error) {
	rest, ok := strings.CutPrefix(s, "P")
	if !ok || rest == "" {
		return Period{}, errPeriodForm
	}
	date, clock, timed := strings.Cut(rest, "T")
	if timed && clock == "" {
		return Period{}, errPeriodForm
	}
	d, _, err := fields(date, "YMWD")
	if err != nil {
		return Period{}, err
	}
	c, nanos, err := fields(clock, "HMS")
	if err != nil {
		return Period{}, err
	}
	days := d['W']*7 + d['D']
	seconds := c['H']*3600 + c['M']*60 + c['S']
	if d['Y']*366+d['M']*31+days+seconds/86400 > maxYears*366 {
		return Period{}, errPeriodLong
	}
	return Period{Years: d['Y'], Months: d['M'], Days: days, Time: time.Duration(seconds)*time.Second + nanos}, nil
}

// fields reads numbers followed by their units, each unit at most once and in the given order. Only S may
// have a fraction, which is returned apart.
func fields(s, units string) (map[byte]int, time.Duration, error) {
	values := map[byte]int{}
	var nanos time.Duration
	for s != "" {
		end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if end <= 0 {
			return nil, 0, errPeriodForm
		}
		place := strings.IndexByte(units, s[end])
		if place < 0 {
			return nil, 0, errPeriodForm
		}
		whole, fraction, fractional := strings.Cut(s[:end], ".")
		if fractional && s[end] != 'S' {
			return nil, 0, errPeriodForm
		}
		n, err := number(whole)
		if err != nil {
			return nil, 0, err
		}
		if fractional {
			if nanos, err = nanoseconds(fraction); err != nil {
				return nil, 0, err
			}
		}
		values[s[end]] = n
		units, s = units[place+1:], s[end+1:]
	}
	return values, nanos, nil
}

func number(digits string) (int, error) {
	if digits == "" {
		return 0, errPeriodForm
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n > maxYears*366*24*60*60 {
		return 0, errPeriodLong
	}
	return int(n), nil //nolint:gosec // bounded above
}

func nanoseconds(fraction string) (time.Duration, error) {
	if fraction == "" || len(fraction) > 9 {
		return 0, errPeriodForm
	}
	n, err := strconv.ParseUint(fraction+strings.Repeat("0", 9-len(fraction)), 10, 32)
	if err != nil {
		return 0, errPeriodForm
	}
	return time.Duration(n), nil //nolint:gosec // nine digits
}

// IsZero says whether p is no time at all.
func (p Period) IsZero() bool { return p == Period{} }

// Duration is the exact length of p, a day being 24 hours. A period with months or years has none: that
// is an error.
func (p Period) Duration() (time.Duration, error) {
	if p.Years != 0 || p.Months != 0 {
		return 0, noLength(p)
	}
	return time.Duration(p.Days)*24*time.Hour + p.Time, nil
}

// AddTo is t plus p by the calendar and clock of loc (nil: UTC): years and months first, a day that the
// month does not have becoming its last; then days, the wall-clock time staying the same; then the exact
// time. A wall-clock time that does not exist becomes the first instant after the gap; one that exists
// twice becomes the first of the two. A period with only an exact time is added exactly.
func (p Period) AddTo(t time.Time, loc *time.Location) time.Time {
	if loc == nil {
		loc = time.UTC
	}
	if !p.IsCalendar() {
		return t.Add(p.Time)
	}
	w := wall(t, loc)
	day := midnight(w)
	if p.Years != 0 || p.Months != 0 {
		month := time.Date(day.Year()+p.Years, day.Month()+time.Month(p.Months), 1, 0, 0, 0, 0, time.UTC)
		end := time.Date(month.Year(), month.Month()+1, 0, 0, 0, 0, 0, time.UTC)
		day = month.AddDate(0, 0, min(day.Day(), end.Day())-1)
	}
	day = day.AddDate(0, 0, p.Days)
	return first(day.Add(w.Sub(midnight(w))), loc).Add(p.Time).In(t.Location())
}

// IsCalendar reports whether p counts whole days, weeks, months or years, so that its length depends on the
// zone it is added in. A period with only an exact time has the same length everywhere.
func (p Period) IsCalendar() bool { return p.Years != 0 || p.Months != 0 || p.Days != 0 }

// String is p in ISO 8601, in its shortest form.
func (p Period) String() string {
	var b strings.Builder
	b.WriteByte('P')
	part := func(n int64, unit string) {
		if n != 0 {
			b.WriteString(strconv.FormatInt(n, 10) + unit)
		}
	}
	part(int64(p.Years), "Y")
	part(int64(p.Months), "M")
	part(int64(p.Days), "D")
	if p.Time != 0 {
		b.WriteByte('T')
		part(int64(p.Time/time.Hour), "H")
		part(int64(p.Time%time.Hour/time.Minute), "M")
		if rest := p.Time % time.Minute; rest != 0 {
			digits := fmt.Sprintf("%d.%09d", rest/time.Second, rest%time.Second)
			b.WriteString(strings.TrimSuffix(strings.TrimRight(digits, "0"), ".") + "S")
		}
	}
	if b.Len() == 1 {
		return "PT0S"
	}
	return b.String()
}
