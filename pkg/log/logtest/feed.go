package logtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

func feedOrder(t *testing.T, s suite) {
	b := provisioned(t, s)
	want := map[string][]uint64{}
	for i := range 60 {
		subject := fmt.Sprintf("evt.%s.%d", []string{"live", "bulk"}[i%2], 1+2*(i/2%2))
		want[subject] = append(want[subject], mustPublish(t, b, subject, fmt.Sprint(i)))
	}
	from := map[string]uint64{"evt.control.1": 0}
	for subject, sequences := range want {
		from[subject] = sequences[4]
	}
	f := feed(t, b, from)
	for subject, sequences := range want {
		for _, sequence := range sequences[5:] {
			if m := take(t, f.Tail(subject)); m.Sequence != sequence || m.Subject != subject {
				t.Fatalf("%s: got %s %d, want %d", subject, m.Subject, m.Sequence, sequence)
			}
		}
	}
	for subject := range from {
		if m, ok := f.Tail(subject).Peek(); ok {
			t.Errorf("%s: got %d, want nothing more", subject, m.Sequence)
		}
	}
	if err := f.Tail("evt.live.0").Err(); err == nil {
		t.Error("a subject that is not in the feed has a tail that works")
	}
	f.Close()
	f.Close()
	wantErr(t, "tail of a closed feed", f.Tail("evt.live.1").Err(), log.ErrClosed)
}

func feedLive(t *testing.T, s suite) {
	b := provisioned(t, s)
	genesis := last(t, b, "prf.1")
	f := feed(t, b, map[string]uint64{"prf.1": 0, "prf.3": last(t, b, "prf.3").Sequence})
	tail := f.Tail("prf.1")
	if m := take(t, tail); m.Sequence != genesis.Sequence || m.Time.IsZero() {
		t.Fatalf("got %d, want the genesis at %d", m.Sequence, genesis.Sequence)
	}
	at := genesis.Sequence
	for i := range 50 {
		at = mustAppend(t, b, "prf.1", at, fmt.Sprint(i))
		if m := take(t, tail); m.Sequence != at || string(m.Data) != fmt.Sprint(i) {
			t.Fatalf("got %q at %d, want %d at %d", m.Data, m.Sequence, i, at)
		}
	}
	if m, ok := f.Tail("prf.3").Peek(); ok {
		t.Fatalf("prf.3: got %d, want nothing", m.Sequence)
	}
}

func feedSlowTail(t *testing.T, s suite) {
	b := provisioned(t, s)
	f := feed(t, b, map[string]uint64{"evt.bulk.1": 0, "evt.live.1": 0, "evt.control.1": 0, "evt.live.3": 0, "evt.bulk.3": 0})
	data := strings.Repeat("x", 4096)
	const count = 400
	var slow []uint64
	for i := range count {
		slow = append(slow, mustPublish(t, b, "evt.bulk.1", data))
		if i%40 == 0 {
			at := mustPublish(t, b, "evt.live.1", "quick")
			if m := take(t, f.Tail("evt.live.1")); m.Sequence != at {
				t.Fatalf("live: got %d, want %d", m.Sequence, at)
			}
		}
	}
	for i, sequence := range slow {
		if m := take(t, f.Tail("evt.bulk.1")); m.Sequence != sequence || len(m.Data) != len(data) {
			t.Fatalf("bulk %d: got %d, want %d", i, m.Sequence, sequence)
		}
	}
	at := mustPublish(t, b, "evt.bulk.1", "after")
	if m := take(t, f.Tail("evt.bulk.1")); m.Sequence != at {
		t.Fatalf("after catching up: got %d, want %d", m.Sequence, at)
	}
}

func feedLarge(t *testing.T, s suite) {
	b := provisioned(t, s)
	data := strings.Repeat("x", 500_000)
	for range 7 {
		mustPublish(t, b, "evt.bulk.1", data)
	}
	tail := feed(t, b, map[string]uint64{"evt.bulk.1": 0}).Tail("evt.bulk.1")
	for i := range 7 {
		if m := take(t, tail); m.Sequence != uint64(i)+1 || len(m.Data) != len(data) {
			t.Fatalf("got %d with %d bytes, want %d", m.Sequence, len(m.Data), i+1)
		}
	}
}

func feedGone(t *testing.T, s suite) {
	b := provisioned(t, s)
	var at []uint64
	for range 6 {
		at = append(at, mustPublish(t, b, "evt.live.1", "x"))
	}
	if err := b.Purge(t.Context(), "evt.live.1", at[4]); err != nil {
		t.Fatal(err)
	}
	f := feed(t, b, map[string]uint64{"evt.live.1": at[1], "evt.bulk.1": 0, "evt.live.3": at[5] + 100})
	wantErr(t, "position that was purged", f.Tail("evt.live.1").Err(), log.ErrGone)
	wantErr(t, "position beyond the end", f.Tail("evt.live.3").Err(), log.ErrLogLostData)
	next := mustPublish(t, b, "evt.bulk.1", "y")
	if m := take(t, f.Tail("evt.bulk.1")); m.Sequence != next {
		t.Fatalf("the other tail: got %d, want %d", m.Sequence, next)
	}
	again := feed(t, b, map[string]uint64{"evt.live.1": at[4] - 1})
	if m := take(t, again.Tail("evt.live.1")); m.Sequence != at[4] {
		t.Fatalf("a reader that sees its last message again: got %d, want %d", m.Sequence, at[4])
	}
	kept := feed(t, b, map[string]uint64{"evt.live.1": at[4]})
	if m := take(t, kept.Tail("evt.live.1")); m.Sequence != at[5] {
		t.Fatalf("after a position that is there: got %d, want %d", m.Sequence, at[5])
	}
}

// A stream that is deleted and made again is another one: its readers are told, wherever they stood in the old one and
// however many messages the new one has.
func feedAnew(t *testing.T, s suite) {
	site := s.open(t)
	if _, err := log.Provision(t.Context(), site, s.generation(), log.ProvisionConfig{MaxBytes: maxBytes}); err != nil {
		t.Fatal(err)
	}
	const subject, unread = "evt.live.1", "evt.bulk.1"
	at := mustPublish(t, site, subject, "old")
	f := feed(t, site, map[string]uint64{subject: 0, unread: 0})
	if m := take(t, f.Tail(subject)); m.Sequence != at {
		t.Fatalf("got %d, want %d", m.Sequence, at)
	}
	before, err := site.Usage(t.Context(), subject)
	if err != nil || before.Made.IsZero() {
		t.Fatalf("usage: %+v, %v", before, err)
	}
	name := ""
	for _, c := range s.generation().StreamConfigs(maxBytes) {
		if slices.Contains(c.Subjects, subject) {
			name = c.Name
		}
	}
	cfg, err := site.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := site.DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := site.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for range 9 {
		mustPublish(t, site, subject, "new")
	}
	for _, tail := range []log.Tail{f.Tail(subject), f.Tail(unread)} {
		m, err := log.Take(t.Context(), clock.Wall{}, tail)
		if anew, ok := errors.AsType[*log.AnewError](err); !ok || anew.Stream != name || !errors.Is(err, log.ErrLogLostData) {
			t.Fatalf("got %q, %v, want an AnewError of %s", m.Data, err, name)
		}
	}
	if after, err := site.Usage(t.Context(), subject); err != nil || !after.Made.After(before.Made) {
		t.Fatalf("made at %s and then at %s (%v)", before.Made, after.Made, err)
	}
}

func feedTwoStreams(t *testing.T, s suite) {
	b := provisioned(t, s)
	_, err := b.Feed(t.Context(), map[string]uint64{"evt.live.0": 0, "evt.live.1": 0})
	if fault.Of(err) != fault.Invalid {
		t.Fatalf("got %v, want an error of kind invalid", err)
	}
}
