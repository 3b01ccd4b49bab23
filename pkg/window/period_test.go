package window

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func zone(tb testing.TB, name string) *time.Location {
	tb.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		tb.Fatalf("load zone %s: %v", name, err)
	}
	return loc
}

func at(tb testing.TB, s string) time.Time {
	tb.Helper()
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		tb.Fatalf("parse %s: %v", s, err)
	}
	return t
}

func TestParsePeriod(t *testing.T) {
	good := map[string]Period{
		"P1D":             {Days: 1},
		"P2W":             {Days: 14},
		"P1W2D":           {Days: 9},
		"PT4H":            {Time: 4 * time.Hour},
		"PT0S":            {},
		"P0D":             {},
		"PT1.5S":          {Time: 1500 * time.Millisecond},
		"P1Y2M3DT4H5M6S":  {Years: 1, Months: 2, Days: 3, Time: 4*time.Hour + 5*time.Minute + 6*time.Second},
		"PT0.000000001S":  {Time: 1},
		"P100Y":           {Years: 100},
		"P1DT90M":         {Days: 1, Time: 90 * time.Minute},
		"PT36H":           {Time: 36 * time.Hour},
		"P28D":            {Days: 28},
		"PT3153600000.5S": {Time: 3153600000*time.Second + 500*time.Millisecond},
	}
	for in, want := range good {
		if got, err := ParsePeriod(in); err != nil || got != want {
			t.Errorf("ParsePeriod(%q) = %+v, %v; want %+v", in, got, err, want)
		}
	}
	bad := []string{
		"", "P", "PT", "P1DT", "1D", "P1", "PD", "-P1D", "P-1D", "P+1D", "p1d", "P1H", "PT1D", "P1.5D", "PT1.S", "PT.5S", "PT1.2.3S",
		"P1D1D", "P1D2W", "P1M1Y", "PT1S1M", "P1D ", " P1D", "P101Y", "P99999999999999999999D", "PT9999999999H", "P1D\x00", "PT1.0000000001S", "P1ÄD", "4h",
	}
	for _, in := range bad {
		if got, err := ParsePeriod(in); err == nil {
			t.Errorf("ParsePeriod(%q) = %+v, want an error", in, got)
		}
	}
}

func TestPeriodReadsWhatItWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Period{
			Years:  rapid.IntRange(0, 20).Draw(t, "years"),
			Months: rapid.IntRange(0, 30).Draw(t, "months"),
			Days:   rapid.IntRange(0, 400).Draw(t, "days"),
			Time:   time.Duration(rapid.Int64Range(0, int64(100*time.Hour)).Draw(t, "time")),
		}
		if got, err := ParsePeriod(p.String()); err != nil || got != p {
			t.Fatalf("ParsePeriod(%s) = %+v, %v; want %+v", p, got, err, p)
		}
	})
}

func TestPeriodDuration(t *testing.T) {
	if d, err := (Period{Days: 2, Time: time.Hour}).Duration(); err != nil || d != 49*time.Hour {
		t.Errorf("Duration = %s, %v; want 49h", d, err)
	}
	for _, p := range []Period{{Months: 1}, {Years: 1, Days: 3}} {
		if d, err := p.Duration(); err == nil {
			t.Errorf("Duration of %s = %s, want an error", p, d)
		}
	}
}

func TestAddTo(t *testing.T) {
	for _, c := range []struct{ name, zone, from, period, want string }{
		{"exact time ignores the clock", "America/New_York", "2026-03-07T12:00:00-05:00", "PT24H", "2026-03-08T13:00:00-04:00"},
		{"a day keeps the wall clock", "America/New_York", "2026-03-07T12:00:00-05:00", "P1D", "2026-03-08T12:00:00-04:00"},
		{"into the gap: the first instant after it", "America/New_York", "2026-03-07T02:30:00-05:00", "P1D", "2026-03-08T03:00:00-04:00"},
		{"into the gap in London", "Europe/London", "2026-03-28T01:30:00Z", "P1D", "2026-03-29T02:00:00+01:00"},
		{"into the overlap: the first reading", "America/New_York", "2026-10-31T01:30:00-04:00", "P1D", "2026-11-01T01:30:00-04:00"},
		{"a month is clamped", "Europe/Berlin", "2026-01-31T09:00:00+01:00", "P1M", "2026-02-28T09:00:00+01:00"},
		{"over the year's end", "UTC", "2026-11-30T00:00:00Z", "P3M", "2027-02-28T00:00:00Z"},
		{"a leap year", "UTC", "2028-02-29T00:00:00Z", "P1Y", "2029-02-28T00:00:00Z"},
		{"days, then time", "America/New_York", "2026-03-07T12:00:00-05:00", "P1DT1H", "2026-03-08T13:00:00-04:00"},
		{"a midnight that does not exist", "America/Santiago", "2026-09-05T00:00:00-04:00", "P1D", "2026-09-06T01:00:00-03:00"},
		{"a day that does not exist", "Pacific/Apia", "2011-12-29T12:00:00-10:00", "P1D", "2011-12-31T00:00:00+14:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := ParsePeriod(c.period)
			if err != nil {
				t.Fatal(err)
			}
			got := p.AddTo(at(t, c.from), zone(t, c.zone))
			if want := at(t, c.want); !got.Equal(want) {
				t.Errorf("got %s, want %s", got.In(zone(t, c.zone)), want)
			}
		})
	}
	if got, want := (Period{Days: 1}).AddTo(at(t, "2026-03-07T12:00:00Z"), nil), at(t, "2026-03-08T12:00:00Z"); !got.Equal(want) {
		t.Errorf("nil zone: got %s, want %s", got, want)
	}
}

func FuzzParsePeriod(f *testing.F) {
	for _, s := range []string{"P1Y2M3W4DT5H6M7.8S", "PT", "P-1D", "PT9999999999H"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePeriod(s)
		if err != nil {
			return
		}
		again, err := ParsePeriod(p.String())
		if err != nil || again != p {
			t.Fatalf("%q reads as %+v, written as %s, read again as %+v, %v", s, p, p, again, err)
		}
		from := time.Date(2026, 3, 8, 6, 59, 0, 0, time.UTC)
		if p.AddTo(from, time.UTC).Before(from) {
			t.Fatalf("%q leads backwards", s)
		}
	})
}
