package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/failpoint"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
)

// saveEvery is after how many records the relay's position is saved; lost, it costs repeats only.
const saveEvery = 256

// relay follows one chain and delivers its addressed facts into mailboxes: strictly in order, each letter
// acknowledged before the next. A letter delivered twice is recognised by its position.
type relay struct {
	chain  string
	broker log.Broker
	kv     log.KV
	points failpoint.Points

	mu    sync.Mutex
	queue []outgoing
	done  uint64 // all facts of records up to here are delivered
	saved uint64
	unset int // records since the position was saved
	wake  chan struct{}
}

type outgoing struct {
	seq   uint64
	facts []*stagev1.Addressed
	now   *timestamppb.Timestamp
	round uint32
}

// openRelay continues where the relay of the partition's chain stood: addressed facts of the records
// after its saved position are delivered (again). The trimmer keeps what is not delivered: if it is gone all
// the same, the log lost it.
func (p *partition) openRelay(ctx context.Context) error {
	for look := 1; ; look++ {
		err := p.readLetters(ctx)
		if !errors.Is(err, log.ErrGone) {
			return err
		}
		if look == tailLooks { // as with the end of a chain, a new leader may not know the position yet
			return &HaltError{Subject: p.chainName, Why: fmt.Sprintf("letters that may not be delivered are gone: %v", err)}
		}
		if err := clock.Sleep(ctx, p.ports.Clock, handoverLook); err != nil {
			return err
		}
	}
}

// readLetters queues the addressed facts of the records after the relay's saved position.
func (p *partition) readLetters(ctx context.Context) error {
	r := p.relay
	from, known, err := snapshot.Relayed(ctx, r.kv, r.chain)
	if err != nil {
		return err
	}
	r.reset(from)
	feed, err := p.ports.Broker.Feed(ctx, map[string]uint64{r.chain: from})
	if err != nil {
		return fmt.Errorf("read %s: %w", r.chain, err)
	}
	defer feed.Close()
	tail := feed.Tail(r.chain)
	for seq := from; seq < p.last; {
		msg, err := log.Take(ctx, p.ports.Clock, tail)
		if err != nil {
			return fmt.Errorf("read %s: %w", r.chain, err)
		}
		rec := &stagev1.Record{}
		if err := rec.UnmarshalVT(msg.Data); err != nil {
			return &HaltError{Subject: r.chain, Why: fmt.Sprintf("record %d cannot be read: %v", msg.Sequence, err)}
		}
		// What a lost position has led to is delivered again, from what the chain still has.
		if rec.GetPrev() != seq && (known != 0 || seq != from) {
			return fmt.Errorf("%w: record %d of %s follows %d, but %d was read before it", log.ErrGone, msg.Sequence, r.chain, rec.GetPrev(), seq)
		}
		r.add(msg.Sequence, rec)
		seq = msg.Sequence
	}
	return nil
}

func newRelay(chain string, ports Ports) *relay {
	return &relay{chain: chain, broker: ports.Broker, kv: ports.KV, points: ports.Points, wake: make(chan struct{}, 1)}
}

func (r *relay) reset(saved uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue, r.done, r.saved, r.unset = nil, saved, saved, 0
}

// add queues the addressed facts of a record.
func (r *relay) add(seq uint64, rec *stagev1.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, outgoing{seq: seq, facts: rec.GetAddressed(), now: rec.GetNow(), round: rec.GetRound()})
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// flush delivers what is queued; it says whether there was a letter. After an error the rest stays queued.
func (r *relay) flush(ctx context.Context) (bool, error) {
	sent := false
	for {
		r.mu.Lock()
		if len(r.queue) == 0 {
			r.mu.Unlock()
			return sent, r.save(ctx, saveEvery)
		}
		out := r.queue[0]
		r.mu.Unlock()
		if err := r.deliver(ctx, out); err != nil {
			return sent, err
		}
		sent = sent || len(out.facts) > 0
		r.mu.Lock()
		if len(r.queue) > 0 && r.queue[0].seq == out.seq {
			r.queue = r.queue[1:]
		}
		r.done = out.seq
		r.unset++
		r.mu.Unlock()
	}
}

// deliver publishes a record's facts, for each destination in letters of a size that a message may have, in the order
// of the first fact for each.
func (r *relay) deliver(ctx context.Context, out outgoing) error {
	letters := map[string][]*stagev1.Letter{}
	sizes := map[string]int{}
	var order []string
	for n, f := range out.facts {
		subject := log.Subject(log.Box(f.GetStage()), int(f.GetPartition()))
		if !slices.Contains(order, subject) {
			order = append(order, subject)
		}
		size := f.SizeVT() + factOverhead
		if sizes[subject] += size; len(letters[subject]) == 0 || sizes[subject] > maxLetterSize {
			letters[subject] = append(letters[subject], &stagev1.Letter{Sender: r.chain, Sequence: out.seq, Now: out.now, Round: out.round})
			sizes[subject] = size
		}
		l := letters[subject][len(letters[subject])-1]
		l.Items = append(l.Items, &stagev1.LetterItem{Index: uint32(n + 1), Fact: f}) //nolint:gosec // few
	}
	for _, subject := range order {
		for _, l := range letters[subject] {
			data, err := l.MarshalVT()
			if err != nil {
				return fmt.Errorf("encode letter: %w", err)
			}
			if _, err := r.broker.Publish(ctx, subject, data); err != nil {
				return fmt.Errorf("deliver to %s: %w", subject, err)
			}
			r.points.At("stage.relayed")
		}
	}
	return nil
}

// save stores the position if it moved by at least that many records.
func (r *relay) save(ctx context.Context, least int) error {
	r.mu.Lock()
	done, due := r.done, r.unset >= least && r.done > r.saved
	r.mu.Unlock()
	if !due {
		return nil
	}
	if err := snapshot.SaveRelayed(ctx, r.kv, r.chain, done); err != nil {
		return err
	}
	r.points.At("stage.saved")
	r.mu.Lock()
	r.saved, r.unset = done, 0
	r.mu.Unlock()
	return nil
}
