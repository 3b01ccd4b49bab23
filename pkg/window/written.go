package window

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Fixed reads a period where a fixed length is meant: a day is 24 hours, months and years are refused. The error says
// what to write.
func Fixed(s string) (time.Duration, error) {
	p, err := ParsePeriod(s)
	if err != nil {
		return 0, err
	}
	return p.Duration()
}

// ErrCalendar is what Fixed and Period.Duration return for a period of months or years, beside what to write instead.
var ErrCalendar = errors.New("a fixed length is wanted")

// noLength says what to write for a period that has no fixed length.
func noLength(p Period) error {
	days := p.Years*365 + p.Months*30 + p.Days
	if p.Years == 0 && p.Days == 0 && p.Time == 0 {
		return fmt.Errorf("%w, and %s is of calendar months: PT%dM is %s, P%dD is %s", ErrCalendar, p, p.Months, plural(p.Months, "minute"), days, plural(days, "day"))
	}
	return fmt.Errorf("%w, and %s is of calendar months or years: write days, such as P%dD", ErrCalendar, p, days)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// meant is the period that was probably meant by what is none; empty if that is not clear.
func meant(s string) string {
	if upper := strings.ToUpper(strings.ReplaceAll(s, " ", "")); upper != s {
		if _, err := parsePeriod(upper); err == nil {
			return upper
		}
	}
	m := regexp.MustCompile(`^(?i)p?t?\s*([0-9]{1,6})\s*(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?|w|weeks?|months?|y|years?)$`).FindStringSubmatch(s)
	if m == nil {
		return ""
	}
	unit := strings.ToUpper(m[2])
	switch {
	case strings.HasPrefix(unit, "MO"), unit[0] == 'D', unit[0] == 'W', unit[0] == 'Y':
		return "P" + m[1] + unit[:1]
	default:
		return "PT" + m[1] + unit[:1]
	}
}
