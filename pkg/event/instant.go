package event

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// Instant is a time as a publisher wrote it.
type Instant struct {
	// At is the time.
	At time.Time
	// Assumed says that the text named no zone, so that the reader's was taken.
	Assumed bool
}

// ErrNotATime says that a text or number is no time.
var ErrNotATime = errors.New("is not a time as in 2026-11-21T08:00:00Z")

// The years between which arithmetic on times is safe.
const (
	firstYear = 1900
	lastYear  = 2200
)

// zonedLayouts are the forms of a time with a zone, localLayouts those without. A fraction of a second is
// read in all of them.
func zonedLayouts() []string {
	return []string{
		time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07", "2006-01-02T15:04Z07:00", "2006-01-02T15:04Z0700", "2006-01-02T15:04Z07",
	}
}

func localLayouts() []string {
	return []string{"2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly}
}

// ParseInstant reads a time in the forms that publishers write: RFC 3339, also with a lower-case t or z, with a blank
// for the T, a comma before the fraction, without seconds, with +0000 or +00 for the zone, or UTC or GMT behind it;
// without a zone, and a date only, which are taken in zone (nil: UTC); and seconds, milliseconds, microseconds or
// nanoseconds since 1970, told apart by their size. Numbers that would be a time before March 1973 are none: they
// are nobody's idea of an instant. What lies outside of the years 1900 to 2200 is no time either. The error is
// ErrNotATime.
func ParseInstant(text string, zone *time.Location) (Instant, error) {
	text = strings.TrimSpace(text)
	if isNumber(text) {
		return parseEpoch(text)
	}
	text = strings.ToUpper(text)
	for _, name := range []string{"UTC", "GMT"} {
		if before, ok := strings.CutSuffix(text, name); ok {
			text = strings.TrimSpace(before) + "Z"
		}
	}
	if date := len(time.DateOnly); len(text) > date {
		clock := strings.ReplaceAll(strings.TrimLeft(text[date:], "T "), " ", "")
		text = text[:date] + "T" + clock
	}
	for _, layout := range zonedLayouts() {
		if at, err := time.Parse(layout, text); err == nil {
			return within(Instant{At: at})
		}
	}
	if zone == nil {
		zone = time.UTC
	}
	for _, layout := range localLayouts() {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			return within(Instant{At: at, Assumed: true})
		}
	}
	return Instant{}, ErrNotATime
}

// AssumedZone is the remark about a time that named no zone and was taken in the reader's (nil: UTC).
func AssumedZone(field string, zone *time.Location) Problem {
	if zone == nil {
		zone = time.UTC
	}
	return Problem{Field: field, Why: "names no zone: it was taken in " + zone.String() + ", the workspace's"}
}

// InstantOf reads a value as a time: a text or number as ParseInstant does. Nothing else is a time.
func InstantOf(v *eventv1.Value, zone *time.Location) (Instant, error) {
	switch k := v.GetKind().(type) {
	case *eventv1.Value_Text:
		return ParseInstant(k.Text, zone)
	case *eventv1.Value_Integer:
		return ParseInstant(strconv.FormatInt(k.Integer, 10), zone)
	case *eventv1.Value_Number:
		return ParseInstant(strconv.FormatFloat(k.Number, 'f', -1, 64), zone)
	}
	return Instant{}, ErrNotATime
}

func within(i Instant) (Instant, error) {
	if y := i.At.UTC().Year(); y < firstYear || y > lastYear {
		return Instant{}, ErrNotATime
	}
	return i, nil
}

// Epochs as numbers: below leastSeconds is no time, below mostSeconds are seconds, and each further unit is a
// thousand times as many.
const (
	leastSeconds = 1e8
	mostSeconds  = 1e11
)

// parseEpoch reads a number since 1970. Whole numbers keep all their digits, fractions are read to a microsecond.
func parseEpoch(text string) (Instant, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f < leastSeconds || f >= mostSeconds*1e9 {
		return Instant{}, ErrNotATime
	}
	unit := time.Second
	for limit := mostSeconds; f >= limit; limit *= 1000 {
		unit /= 1000
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		per := int64(time.Second / unit)
		return within(Instant{At: time.Unix(n/per, n%per*int64(unit)).UTC()})
	}
	micros := f * float64(unit) / float64(time.Microsecond)
	return within(Instant{At: time.UnixMicro(int64(math.Round(micros))).UTC()})
}

// isNumber reports whether a text is a decimal number as JSON writes one.
func isNumber(text string) bool {
	digits := false
	for i, r := range text {
		switch {
		case r >= '0' && r <= '9':
			digits = true
		case r == '-' && i == 0, digits && strings.ContainsRune(".eE", r), digits && strings.ContainsRune("+-", r) && strings.ContainsRune("eE", rune(text[i-1])):
		default:
			return false
		}
	}
	return digits
}
