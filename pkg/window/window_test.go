package window

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSpan(t *testing.T) {
	for _, c := range []struct {
		name, zone     string
		unit           Unit
		at, start, end string
	}{
		{"a day that starts at 01:00", "America/Santiago", Day, "2026-09-06T12:00:00-03:00", "2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"},
		{"the day before it", "America/Santiago", Day, "2026-09-05T23:59:59-04:00", "2026-09-05T00:00:00-04:00", "2026-09-06T01:00:00-03:00"},
		{"a day with an hour twice at its end", "America/Santiago", Day, "2026-04-04T23:30:00-04:00", "2026-04-04T00:00:00-03:00", "2026-04-05T00:00:00-04:00"},
		{"a midnight that comes twice", "America/Havana", Day, "2026-11-01T00:30:00-05:00", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"},
		{"put back over midnight: the day has begun", "America/St_Johns", Day, "2010-11-07T03:00:00Z", "2010-11-07T00:00:00-02:30", "2010-11-08T00:00:00-03:30"},
		{"a week from Monday", "Europe/London", Week, "2026-03-29T12:00:00+01:00", "2026-03-23T00:00:00Z", "2026-03-30T00:00:00+01:00"},
		{"Monday belongs to its week", "Europe/London", Week, "2026-03-30T00:00:00+01:00", "2026-03-30T00:00:00+01:00", "2026-04-06T00:00:00+01:00"},
		{"a month", "Asia/Tokyo", Month, "2026-02-28T23:59:59+09:00", "2026-02-01T00:00:00+09:00", "2026-03-01T00:00:00+09:00"},
		{"after a day that does not exist", "Pacific/Apia", Day, "2011-12-31T00:00:00+14:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			start, end := c.unit.Span(at(t, c.at), zone(t, c.zone))
			if !start.Equal(at(t, c.start)) || !end.Equal(at(t, c.end)) {
				t.Errorf("got [%s, %s), want [%s, %s)", start, end, c.start, c.end)
			}
		})
	}
}

func TestQuiet(t *testing.T) {
	for _, c := range []struct{ name, zone, from, to, at, allowed, start string }{
		{"in the evening", "Asia/Tokyo", "20:00", "08:00", "2026-03-02T21:14:00+09:00", "2026-03-03T08:00:00+09:00", "2026-03-02T21:14:00+09:00"},
		{"the start is quiet", "Asia/Tokyo", "20:00", "08:00", "2026-03-02T20:00:00+09:00", "2026-03-03T08:00:00+09:00", "2026-03-02T20:00:00+09:00"},
		{"the end is not", "Asia/Tokyo", "20:00", "08:00", "2026-03-03T08:00:00+09:00", "2026-03-03T08:00:00+09:00", "2026-03-03T20:00:00+09:00"},
		{"the end falls into the gap", "America/New_York", "20:00", "02:30", "2026-03-08T01:59:00-05:00", "2026-03-08T03:00:00-04:00", "2026-03-08T01:59:00-05:00"},
		{"the start falls into the gap", "America/New_York", "02:30", "05:00", "2026-03-08T01:59:00-05:00", "2026-03-08T01:59:00-05:00", "2026-03-08T03:00:00-04:00"},
		{"the end comes twice: the last one", "America/New_York", "20:00", "01:30", "2026-11-01T01:29:00-04:00", "2026-11-01T01:30:00-05:00", "2026-11-01T01:29:00-04:00"},
		{"the start comes twice: the first one", "America/New_York", "01:30", "05:00", "2026-11-01T01:00:00-05:00", "2026-11-01T05:00:00-05:00", "2026-11-01T01:00:00-05:00"},
		{"a midnight that does not exist", "America/Santiago", "00:00", "00:30", "2026-09-05T23:59:00-04:00", "2026-09-05T23:59:00-04:00", "2026-09-07T00:00:00-03:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q, err := NewQuiet(c.from, c.to)
			if err != nil {
				t.Fatal(err)
			}
			loc := zone(t, c.zone)
			if got := q.NextAllowed(at(t, c.at), loc); !got.Equal(at(t, c.allowed)) {
				t.Errorf("NextAllowed = %s, want %s", got.In(loc), c.allowed)
			}
			if got := q.NextStart(at(t, c.at), loc); !got.Equal(at(t, c.start)) {
				t.Errorf("NextStart = %s, want %s", got.In(loc), c.start)
			}
		})
	}
}

func TestNewQuietRefuses(t *testing.T) {
	for _, c := range [][2]string{{"20:00", "20:00"}, {"", "08:00"}, {"20:00", "24:00"}, {"8:00", "09:00"}, {"20:00:00", "08:00"}} {
		if q, err := NewQuiet(c[0], c[1]); err == nil {
			t.Errorf("NewQuiet(%q, %q) = %s, want an error", c[0], c[1], q)
		}
	}
}

// With an unknown zone it is quiet as long as it is quiet in any inhabited zone.
func TestQuietAnywhere(t *testing.T) {
	long, err := NewQuiet("20:00", "08:00")
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := long.NextAllowedAnywhere(at(t, "2026-03-02T12:00:00Z")); ok {
		t.Errorf("twelve hours are quiet somewhere at any time; got %s", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.IntRange(0, 24*60-1).Draw(t, "from")
		q := Quiet{from: time.Duration(from) * time.Minute, length: time.Duration(rapid.IntRange(1, 30).Draw(t, "length")) * time.Minute}
		begin := time.Date(2026, 3, 2, 0, rapid.IntRange(0, 24*60).Draw(t, "at"), 0, 0, time.UTC)
		quiet := func(at time.Time) bool {
			for _, minutes := range inhabited() {
				if q.Contains(at, time.FixedZone("", minutes*60)) {
					return true
				}
			}
			return false
		}
		var want, start time.Time
		for m := 24 * 60; m >= 0; m-- {
			at := begin.Add(time.Duration(m) * time.Minute)
			if quiet(at) {
				start = at
			} else {
				want = at
			}
		}
		got, ok := q.NextAllowedAnywhere(begin)
		if ok != !want.IsZero() || !got.Equal(want) {
			t.Fatalf("%s: next allowed anywhere after %s is %s, %v; want %s", q, begin, got, ok, want)
		}
		if got := q.NextStartAnywhere(begin); !got.Equal(start) {
			t.Fatalf("%s: next start anywhere after %s is %s; want %s", q, begin, got, start)
		}
	})
}

func TestLatestEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(1.7e9, 1.9e9).Draw(t, "at"), 0)
		for _, u := range []Unit{Day, Week, Month} {
			var want time.Time
			for _, minutes := range inhabited() {
				if _, end := u.Span(at, time.FixedZone("", minutes*60)); end.After(want) {
					want = end
				}
			}
			if got := u.LatestEnd(at); !got.Equal(want) {
				t.Fatalf("latest end of the %s of %s = %s, want %s", u, at, got, want)
			}
		}
	})
}

func TestZones(t *testing.T) {
	var z Zones
	for _, load := range []func(string) *time.Location{z.Load, z.Load, (*Zones)(nil).Load} {
		if loc := load("Asia/Tokyo"); loc == nil || loc.String() != "Asia/Tokyo" {
			t.Errorf("Load(Asia/Tokyo) = %v", loc)
		}
		for _, name := range []string{"", "Local", "Nowhere/Land", "../etc/passwd", "/etc/passwd"} {
			if loc := load(name); loc != nil {
				t.Errorf("Load(%q) = %v, want none", name, loc)
			}
		}
	}
}

// What is computed far from any change of the clock equals what is found by walking the zone.
func TestPlainPathEqualsWalk(t *testing.T) {
	loc := zone(t, "America/Santiago")
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(1.75e9, 1.85e9).Draw(t, "at"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanos"))
		for _, u := range []Unit{Day, Week, Month} {
			begin := u.begin(midnight(wall(at, loc)))
			start, end := u.Span(at, loc)
			if want := first(begin, loc); at.Before(first(u.next(begin), loc)) && (!start.Equal(want) || !end.Equal(first(u.next(begin), loc))) {
				t.Fatalf("%s of %s is [%s, %s), want it from %s", u, at, start, end, want)
			}
		}
		q := Quiet{from: time.Duration(rapid.Int64Range(0, 1439).Draw(t, "from")) * time.Minute, length: time.Duration(rapid.Int64Range(1, 1439).Draw(t, "length")) * time.Minute}
		var end, next time.Time
		q.around(at, loc, func(s, e time.Time) bool {
			switch {
			case !at.Before(s) && at.Before(e):
				end = e
			case s.After(at) && next.IsZero():
				next = s
			}
			return true
		})
		if got, quiet := q.endAt(at, loc); quiet != !end.IsZero() || quiet && !got.Equal(end) {
			t.Fatalf("%s: quiet at %s until %s, %v; want %s", q, at, got, quiet, end)
		}
		if want := next; end.IsZero() && !q.NextStart(at, loc).Equal(want) {
			t.Fatalf("%s: after %s the next start is %s, want %s", q, at, q.NextStart(at, loc), want)
		}
	})
}
