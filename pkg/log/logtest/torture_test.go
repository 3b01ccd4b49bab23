package logtest_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/log/logtest"
)

// broken is a site that does one thing wrong now and then.
type broken struct {
	log.Site
	append func(b log.Broker, subject string, expect uint64, data []byte) (uint64, error)
	spoil  func(log.Message) log.Message
	every  uint64 // of so many appends one goes wrong
	calls  *atomic.Uint64
}

const often = 20

// Append implements log.Broker.
func (b broken) Append(ctx context.Context, subject string, expect uint64, data []byte) (uint64, error) {
	if b.append == nil || b.calls.Add(1)%max(b.every, 1) != 0 {
		return b.Site.Append(ctx, subject, expect, data)
	}
	return b.append(b.Site, subject, expect, data)
}

// Feed implements log.Broker.
func (b broken) Feed(ctx context.Context, from map[string]uint64) (log.Feed, error) {
	f, err := b.Site.Feed(ctx, from)
	return brokenFeed{f, b}, err
}

type brokenFeed struct {
	log.Feed
	b broken
}

// Tail implements log.Feed.
func (f brokenFeed) Tail(subject string) log.Tail {
	return brokenTail{f.Feed.Tail(subject), f.b}
}

type brokenTail struct {
	log.Tail
	b broken
}

// Peek implements log.Tail.
func (t brokenTail) Peek() (log.Message, bool) {
	m, ok := t.Tail.Peek()
	if !ok || t.b.spoil == nil {
		return m, ok
	}
	return t.b.spoil(m), true
}

// Pop implements log.Tail.
func (t brokenTail) Pop() {
	t.Tail.Pop()
	if t.b.spoil != nil && t.b.calls.Add(1)%often == 0 {
		t.Tail.Peek()
		t.Tail.Pop()
	}
}

// Torture finds nothing wrong with a log that loses answers as it may, and finds every log that lies.
func TestTortureHasTeeth(t *testing.T) {
	background := context.WithoutCancel(t.Context())
	for _, test := range []struct {
		name string
		site broken
		want string
	}{
		{name: "nothing wrong"},
		{"acknowledged and not there", broken{every: often, append: func(_ log.Broker, _ string, expect uint64, _ []byte) (uint64, error) {
			return expect + 1, nil
		}}, "was acknowledged at"},
		{"no expectation", broken{every: 1, append: func(b log.Broker, subject string, _ uint64, data []byte) (uint64, error) {
			return b.Publish(background, subject, data)
		}}, "but follows"},
		{"stored twice", broken{every: often, append: func(b log.Broker, subject string, expect uint64, data []byte) (uint64, error) {
			at, err := b.Append(background, subject, expect, data)
			if err == nil {
				_, err = b.Publish(background, subject, data)
			}
			return at, err
		}}, "is at"},
		{"stored and refused", broken{every: often, append: func(b log.Broker, subject string, expect uint64, data []byte) (uint64, error) {
			if _, err := b.Append(background, subject, expect, data); err != nil {
				return 0, err
			}
			return 0, log.ErrFull
		}}, "was refused and is at"},
		{"lost against nobody", broken{every: often, append: func(log.Broker, string, uint64, []byte) (uint64, error) {
			return 0, log.ErrLost
		}}, "lost against nobody"},
		{"a feed that skips", broken{spoil: func(m log.Message) log.Message { return m }}, "feed of"},
		{"a feed with another's bytes", broken{spoil: func(m log.Message) log.Message {
			if m.Sequence%often == 0 {
				m.Data = nil
			}
			return m
		}}, "feed of"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.site.calls = &atomic.Uint64{}
			err := torture(t, test.site)
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Fatalf("got %v, want it to say %q", err, test.want)
			}
		})
	}
}

func torture(t *testing.T, site broken) error {
	t.Helper()
	m, _, err := log.ProvisionMemory(t.Context(), log.Generation{Number: 1, Partitions: 2, Streams: 1, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // a test
	m.SetFaults(func(op log.Op) log.Fault {
		if effect := log.Effect(rng.IntN(20)); op.Name == "append" && effect <= log.Pending {
			return log.Fault{Effect: effect, After: rng.Uint64N(5)}
		}
		return log.Fault{}
	})
	site.Site = m
	work := &logtest.Torture{Seed: 1, Groups: [][]string{{"prf.0", "prf.1"}}, Lanes: []string{"evt.live.0"}}
	for range 3 {
		work.Sites = append(work.Sites, site)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	work.Run(ctx)
	m.SetFaults(nil)
	m.Land()
	t.Log(work)
	ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	return work.Verify(ctx, m)
}
