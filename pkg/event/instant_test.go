package event_test

import (
	"testing"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

func berlin(t *testing.T) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func TestInstantsAreReadInTheFormsThatPublishersWrite(t *testing.T) {
	eight := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-11-21T08:00:00Z":              eight,
		"2026-11-21t08:00:00z":              eight,
		"2026-11-21T08:00:00.000Z":          eight,
		"2026-11-21T08:00:00.250Z":          eight.Add(250 * time.Millisecond),
		"2026-11-21T08:00:00,250Z":          eight.Add(250 * time.Millisecond),
		"2026-11-21T08:00:00+0000":          eight,
		"2026-11-21T09:00:00+0100":          eight,
		"2026-11-21T09:00:00+01:00":         eight,
		"2026-11-21T09:00:00+01":            eight,
		"2026-11-21T08:00Z":                 eight,
		"2026-11-21 08:00:00 UTC":           eight,
		"2026-11-21 08:00:00 +0000":         eight,
		"2026-11-21 08:00:00Z":              eight,
		" 2026-11-21T08:00:00Z ":            eight,
		"1795248000":                        eight,
		"1795248000000":                     eight,
		"1795248000000000":                  eight,
		"1795248000000000000":               eight,
		"1795248000.25":                     eight.Add(250 * time.Millisecond),
		"1.795248e9":                        eight,
		"100000000":                         time.Unix(1e8, 0).UTC(),
		"1900-01-01T00:00:00Z":              time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC),
		"2026-11-21T08:00:00.000000123Z":    eight.Add(123),
		"2026-11-21T08:00:00.123456789+000": {},
	} {
		got, err := event.ParseInstant(text, berlin(t))
		if want.IsZero() {
			if err == nil {
				t.Errorf("%q is read as %s", text, got.At)
			}
			continue
		}
		if err != nil || !got.At.Equal(want) || got.Assumed {
			t.Errorf("%q: got %+v, %v; want %s", text, got, err, want)
		}
	}
}

func TestInstantsWithoutAZoneAreTheReaders(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-11-21T09:00:00":     time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC),
		"2026-11-21 09:00:00.5":   time.Date(2026, 11, 21, 8, 0, 0, 5e8, time.UTC),
		"2026-11-21T09:00":        time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC),
		"2026-11-21":              time.Date(2026, 11, 20, 23, 0, 0, 0, time.UTC),
		"2026-07-21t09:00:00":     time.Date(2026, 7, 21, 7, 0, 0, 0, time.UTC),
		"2026-11-21T09:00:00.250": time.Date(2026, 11, 21, 8, 0, 0, 25e7, time.UTC),
	} {
		if got, err := event.ParseInstant(text, berlin(t)); err != nil || !got.At.Equal(want) || !got.Assumed {
			t.Errorf("%q: got %+v, %v; want %s", text, got, err, want)
		}
	}
	if got, err := event.ParseInstant("2026-11-21T09:00:00", nil); err != nil || got.At.Hour() != 9 || !got.Assumed {
		t.Errorf("without a reader's zone: %+v, %v", got, err)
	}
}

func TestWhatIsNoInstantIsNone(t *testing.T) {
	for _, text := range []string{
		"", "yesterday", "12", "0", "-1", "-1795248000", "20261121", "99999999", "1e30", "1e999", "NaN", "Inf", "0x10", "1.2.3", "08:00", "T08:00:00Z",
		"2026-13-01", "2026-02-30T00:00:00Z", "9999-01-01T00:00:00Z", "1899-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-11-21T08:00:00Zz", "UTC", "2026-1 1-21",
	} {
		if got, err := event.ParseInstant(text, nil); err == nil {
			t.Errorf("%q is read as %s", text, got.At)
		}
	}
}

func TestNumbersAreInstantsToo(t *testing.T) {
	eight := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	for _, v := range []*eventv1.Value{event.Integer(1795248000), event.Integer(1795248000000), event.Number(1795248000), event.Text("2026-11-21T08:00:00Z")} {
		if got, err := event.InstantOf(v, nil); err != nil || !got.At.Equal(eight) {
			t.Errorf("%v: got %v, %v", v, got, err)
		}
	}
	for _, v := range []*eventv1.Value{nil, {}, event.Flag(true), event.Number(-1)} {
		if got, err := event.InstantOf(v, nil); err == nil {
			t.Errorf("%v is read as %v", v, got)
		}
	}
}
