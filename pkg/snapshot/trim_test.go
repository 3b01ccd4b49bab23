package snapshot

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
)

// cover lets a chain's last record say how far it covers an input.
func (w *world) cover(of, input string, sequence uint64) {
	w.t.Helper()
	last, err := w.log.Last(w.t.Context(), of)
	if err != nil {
		w.t.Fatal(err)
	}
	rec := &stagev1.Record{Generation: 1, Prev: last.Sequence, Covers: []*stagev1.Cover{{Input: input, Sequence: sequence}}}
	if of == chain {
		w.append(rec)
		return
	}
	data, err := rec.MarshalVT()
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.log.Append(w.t.Context(), of, last.Sequence, data); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) relayed(sequence uint64) {
	w.t.Helper()
	if err := w.log.KV().Put(w.t.Context(), relayKey(chain), binary.BigEndian.AppendUint64(nil, sequence)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) first(subject string) uint64 {
	w.t.Helper()
	m, err := w.log.Next(w.t.Context(), subject, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return m.Sequence
}

// "Below the newest verified snapshot and every reader's position", with a margin of one snapshot; never
// younger than the history that is kept; and nothing while a position cannot be read.
func TestTheTrimmerStaysBehindEverybody(t *testing.T) {
	trim := func(w *world) error { return w.keeper.trim.chain(t.Context(), 0) }
	expect := func(w *world, what string, want uint64) {
		t.Helper()
		if err := trim(w); err != nil {
			t.Fatal(err)
		}
		if got := w.first(chain); got != want {
			t.Errorf("%s: the chain begins at %d, want %d", what, got, want)
		}
	}
	w := newWorld(t, Settings{History: time.Hour})
	w.fill(10)
	tenth := w.last
	w.now = w.now.Add(2 * time.Hour)
	expect(w, "no snapshot", 1)
	w.build()
	w.relayed(tenth)
	w.cover("act.0", "prf", tenth)
	expect(w, "one snapshot, which may be damaged", 1)
	w.fill(10)
	w.build()
	w.relayed(4)
	expect(w, "the relay is at 4", 4)
	w.relayed(w.last)
	w.cover("act.0", "prf", 6)
	expect(w, "the next stage is at 6", 6)
	w.cover("act.0", "prf", w.last)
	for name, faults := range map[string]log.Faults{
		"the manifest": func(op log.Op) log.Fault {
			return lost(op.Name == "kv.get" && strings.HasPrefix(op.Subject, "snapshot/"))
		},
		"the relay's position": func(op log.Op) log.Fault { return lost(op.Subject == relayKey(chain)) },
		"the reader's chain":   func(op log.Op) log.Fault { return lost(op.Subject == "act.0") },
	} {
		w.log.SetFaults(faults)
		if err := trim(w); err == nil {
			t.Errorf("%s cannot be read, and that is no error", name)
		}
		w.log.SetFaults(nil)
	}
	expect(w, "the snapshot before the newest", tenth)
	w.build()
	w.fill(1)
	w.build()
	expect(w, "records that are younger than the history", tenth+1)
	w.now = w.now.Add(2 * time.Hour)
	w.cover(chain, "evt.live", 1)
	w.relayed(w.last + 100) // nobody may bring it to the last record
	w.cover("act.0", "prf", w.last+100)
	w.build()
	w.build()
	if err := trim(w); err != nil {
		t.Fatal(err)
	}
	if last, err := w.log.Last(t.Context(), chain); err != nil || last.Sequence != w.last {
		t.Errorf("the last record is %v, %v", last.Sequence, err)
	}
	w.checkListed()
}

func lost(yes bool) log.Fault {
	if yes {
		return log.Fault{Effect: log.LostBefore}
	}
	return log.Fault{}
}

// "EVENTS may age out only beyond the dedupe horizon and twice the snapshot interval."
func TestInputsGoWhenTheyAreCoveredAndOld(t *testing.T) {
	w := newWorld(t, Settings{Every: 2 * time.Hour, Inputs: 3 * time.Hour})
	var at []uint64
	for range 6 {
		s, err := w.log.Publish(t.Context(), "evt.live.0", []byte("e"))
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, s)
		if _, err := w.log.Publish(t.Context(), "box.profile.0", []byte("l")); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Hour)
	}
	trim := func(want uint64) {
		t.Helper()
		if err := w.keeper.trim.inputs(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got := w.first("evt.live.0"); got != want {
			t.Errorf("the lane begins at %d, want %d", got, want)
		}
	}
	trim(at[0])
	w.cover(chain, "evt.live", at[1])
	trim(at[1])
	w.cover(chain, "evt.live", at[5])
	trim(at[2]) // Inputs is raised to 4 hours; those of hours 2 to 5 are younger or as old
	w.now = w.now.Add(100 * time.Hour)
	trim(at[5])
	if u, err := w.log.Usage(t.Context(), "box.profile.0"); err != nil || u.Messages != 6 {
		t.Errorf("%d letters are left of 6 that nothing covers, %v", u.Messages, err)
	}
}

// filled is a log that says of every stream that it is so full.
type filled struct {
	log.Broker

	share float64
}

func (f *filled) Usage(context.Context, string) (log.Usage, error) {
	return log.Usage{Bytes: uint64(1000 * f.share), MaxBytes: 1000}, nil
}

// "Trimming follows age and pressure": as a stream fills, the history that is kept for its age alone gives way;
// snapshots, readers and the relay do not.
func TestUnderPressureTheHistoryGivesWay(t *testing.T) {
	w := newWorld(t, Settings{History: 10 * time.Hour, Inputs: 10 * time.Hour, Every: time.Hour})
	full := &filled{Broker: w.log}
	w.keeper.trim.broker = full
	var at []uint64
	for range 10 {
		at = append(at, w.record(row("ann", "x")))
		if _, err := w.log.Publish(t.Context(), "box.profile.0", []byte("l")); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Hour)
	}
	w.build()
	w.record(row("ann", "y"))
	w.build()
	w.relayed(w.last)
	w.cover("act.0", "prf", w.last)
	w.cover(chain, "box.profile", 10)
	for _, step := range []struct {
		share float64
		want  int // of at
	}{{0, 0}, {EasyUntil, 0}, {0.45, 3}, {0.55, 8}, {0.59, 9}} {
		full.share = step.share
		if err := w.keeper.trim.chain(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got := w.first(chain); got != max(1, at[step.want]) && step.want > 0 || step.want == 0 && got != 1 {
			t.Errorf("%.0f %% full: the chain begins at %d, want %d", 100*step.share, got, at[step.want])
		}
		if err := w.keeper.trim.inputs(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got, want := w.first("box.profile.0"), uint64(step.want+1); got != want {
			t.Errorf("%.0f %% full: the mailbox begins at %d, want %d", 100*step.share, got, want)
		}
	}
}

// Under pressure an event goes only when a verified snapshot covers it.
func TestUnderPressureAnEventGoesOnceSnapshotsCoverIt(t *testing.T) {
	w := newWorld(t, Settings{Inputs: 10 * time.Hour})
	w.keeper.trim.broker = &filled{Broker: w.log, share: 0.59}
	for range 6 {
		if _, err := w.log.Publish(t.Context(), "evt.live.0", []byte("e")); err != nil {
			t.Fatal(err)
		}
	}
	w.now = w.now.Add(time.Hour)
	trimmed := func(what string, want uint64) {
		t.Helper()
		if err := w.keeper.trim.inputs(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got := w.first("evt.live.0"); got != want {
			t.Errorf("%s: the lane begins at %d, want %d", what, got, want)
		}
	}
	covered := func(sequence uint64) {
		t.Helper()
		w.append(&stagev1.Record{
			Generation: 1, Prev: w.last, Covers: []*stagev1.Cover{{Input: "evt.live", Sequence: sequence}},
			Origins: []*stagev1.Origin{{Lane: "live", Sequence: sequence}},
		})
	}
	covered(4)
	trimmed("no snapshot", 1)
	w.build()
	covered(5)
	w.build()
	covered(6)
	trimmed("covered to 6, in the snapshot at the margin to 4", 4)
}

// The fuller a stream, the sooner a snapshot: what is below it can go.
func TestUnderPressureSnapshotsAreTakenSooner(t *testing.T) {
	for share, want := range map[float64]time.Duration{0: 64 * time.Minute, 0.5: 32 * time.Minute, 0.9: time.Minute} {
		w := newWorld(t, Settings{Every: 64 * time.Minute})
		w.keeper.ports.Broker = &filled{Broker: w.log, share: share}
		w.record(row("ann", "x"))
		w.build()
		w.record(row("ann", "y"))
		for _, step := range []struct {
			after time.Duration
			due   bool
		}{{want - time.Second, false}, {2 * time.Second, true}} {
			w.now = w.now.Add(step.after)
			if got, err := w.keeper.due(t.Context(), chain, 0); err != nil || got != step.due {
				t.Errorf("%.0f %% full, around %s: due %v, %v, want %v", 100*share, want, got, err, step.due)
			}
		}
	}
}

// A dead letter goes when it is old and nothing is left to do about it; one that is not answered keeps those after it.
func TestDeadLettersGoWhenTheyAreAnsweredAndOld(t *testing.T) {
	w := newWorld(t, Settings{Inputs: 10 * time.Hour})
	full := &filled{Broker: w.log}
	w.keeper.trim.broker = full
	answered := map[string]bool{}
	w.keeper.trim.answered = func(_ context.Context, l *stagev1.DeadLetter) (bool, error) {
		if l.GetId() == "unknown" {
			return true, errors.New("the states are away")
		}
		return answered[l.GetId()], nil
	}
	for _, id := range []string{"a", "b", "c", "unknown", "e"} {
		data, err := (&stagev1.DeadLetter{Id: id, Stage: stage}).MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.log.Publish(t.Context(), "dlq.profile.0", data); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Hour)
	}
	begins := func(what string, want uint64) {
		t.Helper()
		if err := w.keeper.trim.deadLetters(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got := w.first("dlq.profile.0"); got != want {
			t.Errorf("%s: they begin at %d, want %d", what, got, want)
		}
	}
	answered["a"], answered["c"] = true, true
	begins("all are young", 1)
	full.share = 1
	begins("under pressure, b is not answered", 2)
	full.share = 0
	answered["b"] = true
	begins("b is young", 2)
	w.now = w.now.Add(20 * time.Hour)
	begins("nobody knows of the fourth", 4)
}

// A chain whose stream takes nothing more gets no newer snapshot: the only one makes room, if all of it can be read.
func TestAFullStreamDoesNotWaitForANewerSnapshot(t *testing.T) {
	for name, test := range map[string]struct {
		share float64
		harm  func(*world, *stagev1.SnapshotListing)
		room  bool
	}{
		"not pressed":                  {share: 0.59},
		"full":                         {share: PressedFrom, room: true},
		"full, and it is damaged":      {share: 1, harm: func(w *world, l *stagev1.SnapshotListing) { w.log.Corrupt(l.GetObject()) }},
		"full, and readers are behind": {share: 1, harm: func(w *world, _ *stagev1.SnapshotListing) { w.cover("act.0", "prf", 1) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Settings{History: time.Hour})
			w.keeper.trim.broker = &filled{Broker: w.log, share: test.share}
			w.fill(10)
			w.build()
			w.relayed(w.last)
			w.cover("act.0", "prf", w.last)
			w.now = w.now.Add(time.Minute)
			only := w.listed()[0]
			want := uint64(1)
			if test.harm != nil {
				test.harm(w, only)
			}
			if test.room {
				want = only.GetSequence()
			}
			if err := w.keeper.trim.chain(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			if got := w.first(chain); got != want {
				t.Errorf("the chain begins at %d, want %d", got, want)
			}
		})
	}
}

// A chain without an owner, whose stream takes no OPEN record, and of which there is no snapshot: who is to own it takes one,
// and there is room.
func TestAFullStreamWithoutAnOwnerGetsItsFirstSnapshot(t *testing.T) {
	for name, test := range map[string]struct {
		share   float64
		waiting []int
		room    bool
	}{
		"full":                      {share: 1, waiting: []int{0}, room: true},
		"not pressed":               {share: 0.59, waiting: []int{0}},
		"full, and it is another's": {share: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Settings{Every: time.Hour, Records: 5, History: time.Hour})
			full := &filled{Broker: w.log, share: test.share}
			w.keeper.trim.broker, w.keeper.ports.Broker = full, full
			w.owned, w.keeper.ports.Waiting = nil, func() []int { return test.waiting }
			w.fill(20)
			w.relayed(w.last)
			w.cover("act.0", "prf", w.last)
			w.now = w.now.Add(time.Minute)
			w.keeper.turn(t.Context())
			if got, want := len(w.listed()) == 1, test.room; got != want {
				t.Errorf("there is a snapshot: %v, want %v", got, want)
			}
			want := uint64(1)
			if test.room {
				want = w.last
			}
			if got := w.first(chain); got != want {
				t.Errorf("the chain begins at %d, want %d", got, want)
			}
		})
	}
}
