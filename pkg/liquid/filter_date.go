package liquid

import (
	"strconv"
	"strings"
	"time"
)

// date writes a point in time in the form of its argument. What is not one is left as it is.
func date(a arguments, in any) (any, error) {
	form, err := a.text(0, "")
	if err != nil || form == "" {
		return in, err
	}
	t, ok := a.run.time(in)
	if !ok {
		return in, nil
	}
	out, err := strftime(t, form)
	if err != nil {
		return nil, err
	}
	return out, a.run.budget.alloc(len(out) + len(form))
}

// time reads a value as a point in time: a time, seconds since 1970, "now" and "today", and dates in words
// and digits. Without a zone of its own it is in the rendering's zone.
func (r *run) time(v any) (time.Time, bool) {
	switch x := v.(type) {
	case time.Time:
		return x.In(r.zone), true
	case int64:
		return time.Unix(x, 0).In(r.zone), true
	case string:
		s := strings.ToLower(strings.Trim(x, blanks))
		if s == "now" || s == "today" {
			return r.now.In(r.zone), true
		}
		const longest = 64
		if s == "" || len(s) > longest {
			return time.Time{}, false
		}
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && s[0] >= '0' && s[0] <= '9' {
			return time.Unix(n, 0).In(r.zone), true
		}
		return parseTime(s, r.now.In(r.zone))
	}
	return time.Time{}, false
}

// days and clocks are the ways in which a date and the time behind it are written. Go reads the names of
// months and days in any case.
func days() []string {
	return []string{
		"2006-1-2", "2006/1/2", "20060102", "2/1/2006", "2.1.2006", "2-Jan-2006", "January 2, 2006", "January 2 2006", "Jan 2, 2006",
		"Jan 2 2006", "2 January 2006", "2 Jan 2006", "Mon, 2 Jan 2006", "Mon 2 Jan 2006", "Monday, 2 January 2006", "Monday, January 2, 2006",
		"Monday, 02-Jan-06", "Mon, January 2, 2006", "Mon Jan 2 2006", "January 2", "Jan 2", "2 January", "2 Jan", "January 2006", "Jan 2006",
	}
}

func clocks() []string {
	return []string{
		"", " 15:04:05", " 15:04", " 15:04:05 -0700", " 15:04 -0700", " 15:04:05 MST", " 15:04 MST", " 15:04:05 Z07:00", " 15:04:05Z07:00",
		" 15:04Z07:00", " 15:04:05Z0700", " 3:04 pm", " 3:04pm", " 3:04:05 pm", " 3pm",
	}
}

func parseTime(s string, now time.Time) (time.Time, bool) {
	if len(s) > 10 && s[10] == 't' {
		s = s[:10] + " " + s[11:]
	}
	s = strings.Join(strings.Fields(strings.ReplaceAll(s, " utc", " +0000")), " ")
	if strings.HasSuffix(s, "z") {
		s = s[:len(s)-1] + "Z"
	}
	for _, layout := range []string{"mon Jan 2 15:04:05 2006", "Mon Jan 2 15:04:05 -0700 2006", "Mon Jan 2 15:04:05 MST 2006"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, true
		}
	}
	for _, day := range days() {
		for _, clock := range clocks() {
			t, err := time.ParseInLocation(day+clock, s, now.Location())
			if err != nil {
				continue
			}
			if t.Year() == 0 {
				t = t.AddDate(now.Year(), 0, 0)
			}
			return t, true
		}
	}
	for _, clock := range clocks()[1:] {
		if t, err := time.ParseInLocation(clock[1:], s, now.Location()); err == nil {
			return time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, t.Location()), true
		}
	}
	return time.Time{}, false
}
