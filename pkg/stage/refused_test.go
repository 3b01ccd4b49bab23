package stage

import (
	"errors"
	"math"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
)

// refuse lets the log say that it is full, to appends to a chain, while left is above zero.
func (m *mesh) refuse(chain string, left *atomic.Int64) {
	m.broker.SetFaults(func(op log.Op) log.Fault {
		if op.Name == "append" && op.Subject == chain && left.Load() > 0 {
			left.Add(-1)
			return log.Fault{Effect: log.Full}
		}
		return log.Fault{}
	})
}

// A letter whose record finds the stream full has not been applied: it is when there is room again.
func TestALetterWhoseRecordIsRefusedIsAppliedLater(t *testing.T) {
	m := newMesh(t, 2, 8)
	defer m.run(m.stage("profile", m.broker, clock.Wall{}))()
	other := "bob"
	for m.fold.home(other) == m.fold.home("ann") { // a letter goes to another partition
		other += "a"
	}
	var left atomic.Int64
	left.Store(3)
	m.refuse(log.Subject("prf", m.fold.home(other)), &left)
	told := m.add("ann", 1)
	told.e.Letter = other
	m.publish(m.broker, nil, told)
	eventually(t, "the other is told", func() bool { return m.row("profile", other).Sum > 0 })
	if left.Load() > 0 {
		t.Error("no record was refused: the test shows nothing")
	}
}

// A message of which a record covers the first items only is read again by the next owner, for the others.
func TestTheRestOfAHalfCoveredMessageIsApplied(t *testing.T) {
	const items, batch = 10, 4
	m := newMesh(t, 1, batch)
	chain := log.Subject("prf", 0)
	kill := m.start(m.stage("profile", m.broker, clock.Wall{}))
	all := &stagev1.Arrivals{}
	for range items {
		all.Items = append(all.Items, &stagev1.Arrival{
			ReceivedAt: timestamppb.Now(), At: timestamppb.Now(), Item: &stagev1.Arrival_Payload{Payload: mustJSON(entry{Customer: "ann", Add: 1})},
		})
	}
	m.broker.SetFaults(func(op log.Op) log.Fault { // after one record with items nothing is stored any more
		if op.Name == "append" && op.Subject == chain && m.row("profile", "ann").Sum > 0 {
			return log.Fault{Effect: log.Full}
		}
		return log.Fault{}
	})
	m.raw(m.broker, log.Subject("evt.live", 0), all)
	eventually(t, "the first items are applied", func() bool { return m.row("profile", "ann").Sum > 0 })
	_ = kill() // as good as killed: CLOSE may be refused as well
	m.broker.SetFaults(nil)
	if got := m.row("profile", "ann").Sum; got >= items {
		t.Fatalf("the first owner applied %d items, want a part of %d", got, items)
	}
	stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
	eventually(t, "all items are applied", func() bool { return m.row("profile", "ann").Sum >= items })
	stop() // and with it what would come twice
	if got := m.row("profile", "ann").Sum; got != items {
		t.Errorf("sum: got %d, want %d", got, items)
	}
}

// A full chain takes no owner before it is trimmed, and is not trimmed before what it has addressed is delivered: so
// that is delivered by the process that waits for room.
func TestWhatAFullChainHasAddressedIsDelivered(t *testing.T) {
	m := newMesh(t, 2, 8)
	from, other := "ann", "bob"
	for m.fold.home(from) != 0 {
		from += "a"
	}
	for m.fold.home(other) == 0 {
		other += "a"
	}
	_, dies := m.stopped()
	told := m.add(from, 1)
	told.e.Letter = other
	m.publish(m.broker, nil, told)
	eventually(t, "it is decided", func() bool {
		_, err := dies.step(t.Context(), limit{})
		return err == nil && m.row("profile", from).Sum == 1
	})
	box := log.Subject(log.Box("profile"), 1)
	if _, err := m.broker.Last(t.Context(), box); !errors.Is(err, log.ErrNotFound) {
		t.Fatalf("before the process has died its letter is delivered, or %v", err)
	}
	var left atomic.Int64
	left.Store(math.MaxInt64)
	m.refuse("prf.0", &left)
	p := m.again(m.fold).newPartition(0)
	if err := p.takeOver(t.Context()); !errors.Is(err, log.ErrFull) {
		t.Errorf("the full chain is taken over: %v", err)
	}
	if _, err := m.broker.Last(t.Context(), box); err != nil {
		t.Errorf("what it has addressed: %v", err)
	}
	done, _, err := snapshot.Relayed(t.Context(), m.broker.KV(), "prf.0")
	if last, e := m.broker.Last(t.Context(), "prf.0"); err != nil || e != nil || done != last.Sequence {
		t.Errorf("delivered up to %d of %d, %v, %v", done, last.Sequence, err, e)
	}
}
