package window

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// oracle is a zone as zdump describes it: offsets from UTC, each from an instant on. It shares no code
// with the package, only the zone data.
type oracle struct {
	name  string
	from  []time.Time
	after []time.Duration
	first time.Duration
}

func (o oracle) wall(t time.Time) time.Time {
	offset := o.first
	for i, from := range o.from {
		if !t.Before(from) {
			offset = o.after[i]
		}
	}
	return t.UTC().Add(offset)
}

func oracles(t *testing.T) []oracle {
	t.Helper()
	path, err := exec.LookPath("zdump")
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("REFRAIN_REQUIRE"), ","), "zdump") {
			t.Fatal("REFRAIN_REQUIRE=zdump: there is no zdump on the PATH")
		}
		t.Skip("NOT TESTED: time zones against an independent oracle, because there is no zdump on the PATH")
	}
	names := []string{
		"America/Santiago", "America/New_York", "Europe/London", "Australia/Lord_Howe", "America/Havana", "America/St_Johns",
		"Africa/Cairo", "Asia/Beirut", "Antarctica/Troll", "Pacific/Chatham", "Africa/Casablanca", "America/Nuuk", "Europe/Dublin",
	}
	found := make([]oracle, 0, len(names))
	for _, name := range names {
		out, err := exec.Command(path, "-V", "-c", "2026,2027", name).Output()
		if err != nil {
			t.Fatalf("zdump %s: %v", name, err)
		}
		found = append(found, readZdump(t, name, string(out)))
	}
	return found
}

func readZdump(t *testing.T, name, out string) oracle {
	t.Helper()
	o := oracle{name: name}
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		f := strings.Fields(line)
		if len(f) != 16 {
			t.Fatalf("zdump %s: line %q has %d fields, want 16", name, line, len(f))
		}
		instant, err := time.Parse("Jan 2 15:04:05 2006", strings.Join(f[2:6], " "))
		if err != nil {
			t.Fatal(err)
		}
		seconds, err := strconv.Atoi(strings.TrimPrefix(f[15], "gmtoff="))
		if err != nil {
			t.Fatal(err)
		}
		offset := time.Duration(seconds) * time.Second
		switch {
		case i == 0:
			o.first = offset
		case i%2 == 1:
			o.from, o.after = append(o.from, instant), append(o.after, offset)
		}
	}
	if len(o.from) < 2 {
		t.Fatalf("zdump %s: found %d changes, want some", name, len(o.from))
	}
	return o
}

// Inside a closed window nothing is sent, whatever the clocks do: what the wall clock of zdump calls quiet
// is quiet; what else is quiet has a wall-clock time that the clock shows twice; and the next allowed
// instant is the first one that is not quiet, to the minute.
func TestQuietAgainstZdump(t *testing.T) {
	windows := [][2]string{{"20:00", "08:00"}, {"23:30", "00:30"}, {"02:15", "02:45"}, {"00:00", "01:00"}, {"01:30", "05:00"}, {"21:00", "01:40"}, {"00:30", "00:15"}}
	for _, o := range oracles(t) {
		loc := zone(t, o.name)
		for _, w := range windows {
			q, err := NewQuiet(w[0], w[1])
			if err != nil {
				t.Fatal(err)
			}
			for _, change := range o.from {
				checkQuiet(t, o, loc, q, change)
			}
		}
	}
}

func checkQuiet(t *testing.T, o oracle, loc *time.Location, q Quiet, change time.Time) {
	t.Helper()
	const span = 36 * 60
	begin := change.Add(-span / 2 * time.Minute).Truncate(time.Minute)
	shown := map[string]int{}
	for i := range span {
		shown[o.wall(begin.Add(time.Duration(i)*time.Minute)).Format(time.DateTime)]++
	}
	var allowed time.Time
	for i := span - 1; i >= 0; i-- {
		at := begin.Add(time.Duration(i) * time.Minute)
		w := o.wall(at)
		reading := w.Format("15:04")
		from, to, _ := strings.Cut(q.String(), "-")
		closed := from <= reading && reading < to || from > to && (reading >= from || reading < to)
		quiet := q.Contains(at, loc)
		if closed && !quiet {
			t.Fatalf("%s %s: %s is %s on the wall, inside the window, and not quiet", o.name, q, at, reading)
		}
		if !closed && quiet && shown[w.Format(time.DateTime)] < 2 {
			t.Fatalf("%s %s: %s is %s on the wall, outside the window, and quiet", o.name, q, at, reading)
		}
		if !quiet {
			allowed = at
		}
		if got := q.NextAllowed(at, loc); !allowed.IsZero() && !got.Equal(allowed) {
			t.Fatalf("%s %s: next allowed after %s is %s, want %s", o.name, q, at, got, allowed)
		}
	}
}

// A local day starts at its first existing instant, and days follow each other without gap or overlap.
func TestDaysAgainstZdump(t *testing.T) {
	for _, o := range oracles(t) {
		loc := zone(t, o.name)
		for _, change := range o.from {
			at := change.Add(-50 * time.Hour).Truncate(time.Minute)
			_, end := Day.Span(at, loc)
			for date := midnight(o.wall(at)).AddDate(0, 0, 1); at.Before(change.Add(50 * time.Hour)); at = at.Add(time.Minute) {
				if o.wall(at).Before(date) {
					continue
				}
				if !end.Equal(at) {
					t.Fatalf("%s: %s starts at %s, want %s", o.name, date.Format(time.DateOnly), end, at)
				}
				var start time.Time
				if start, end = Day.Span(at, loc); !start.Equal(at) {
					t.Fatalf("%s: the day of %s starts at %s, want the same", o.name, at, start)
				}
				date = date.AddDate(0, 0, 1)
			}
		}
	}
}
