package ingestsvc

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
)

// letters keeps what was refused.
type letters struct {
	store  store
	within time.Duration
	clock  clock.Clock
	open   atomic.Int64
}

// lettersAtMost is how many dead letters are on their way before more refused items are not kept.
const lettersAtMost = 1024

// busy says that no more can be kept now.
func (l *letters) busy() bool { return l.open.Load() >= lettersAtMost }

// lettersAtOnce is how many dead letters of one submission are on their way at once.
const lettersAtOnce = 16

// codeRefused is the code of every dead letter that ingest writes.
const codeRefused = "REFUSED"

// deadLetter describes a refused item. Its id is derived from the content: the same refused again is the
// same letter. It holds no address of the network and no user agent.
func deadLetter(s submission, it *item, now time.Time) *stagev1.DeadLetter {
	payload := redacted(it.raw)
	if len(payload) > maxDeadLetter {
		payload = payload[:maxDeadLetter]
	}
	return &stagev1.DeadLetter{
		Id: identity.Derive("refused", s.tenant, s.via, string(it.raw)), Stage: "ingest", Input: s.via,
		Code: codeRefused, Why: why(it.problems), Payload: payload, At: timestamppb.New(now), Tenant: s.tenant,
	}
}

func why(problems []event.Problem) string {
	texts := make([]string, 0, len(problems))
	for i, p := range problems {
		if i == 5 {
			texts = append(texts, fmt.Sprintf("and %d more", len(problems)-i))
			break
		}
		texts = append(texts, p.String())
	}
	return strings.Join(texts, "; ")
}

// keep stores dead letters; an error means that at least one is not certain to be stored.
func (l *letters) keep(ctx context.Context, all []*stagev1.DeadLetter) error {
	if len(all) == 0 {
		return nil
	}
	l.open.Add(int64(len(all)))
	defer l.open.Add(-int64(len(all)))
	ctx, cancel := l.clock.Within(ctx, l.within)
	defer cancel()
	g := clock.NewGroup(l.clock, lettersAtOnce)
	for _, letter := range all {
		g.Go(func() error {
			data, err := letter.MarshalVT()
			if err != nil {
				return fmt.Errorf("encode dead letter: %w", err)
			}
			if _, err := l.store.Publish(ctx, log.Subject(log.DeadLetters("ingest"), 0), data); err != nil {
				return fmt.Errorf("store dead letter: %w", unavailable(err))
			}
			return nil
		})
	}
	return g.Wait(ctx) //nolint:wrapcheck // each error says what it is about
}
