package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// traffic publishes events of many customers, as they happen, through several importers at once, and
// records exactly what was acknowledged.
type traffic struct {
	t      *testing.T
	random *rand.Rand
	urls   func() []string

	customers int
	orders    int
	views     int

	mu       sync.Mutex
	accepted []string
	refused  []string
	retries  int
}

// next makes the next customer action: one to four events, in order.
func (f *traffic) next() []map[string]any {
	now := time.Now().UTC()
	stamp := func(m map[string]any) map[string]any {
		m["timestamp"] = now.Format(time.RFC3339Nano)
		return m
	}
	track := func(user, event string, n int) map[string]any {
		return stamp(map[string]any{
			"type": "track", "messageId": fmt.Sprintf("%s-%d", event, n), "userId": user, "event": event,
			"properties": map[string]any{"order_id": fmt.Sprintf("o%d", n), "total": 10.5},
		})
	}
	if f.customers < 20 || f.random.IntN(5) == 0 {
		return f.introduce(stamp, track)
	}
	f.orders++
	user := fmt.Sprintf("user-%d", 1+f.random.IntN(f.customers))
	if f.random.IntN(4) == 0 {
		return []map[string]any{track(user, "order_cancelled", f.orders)}
	}
	return []map[string]any{track(user, "order_placed", f.orders)}
}

// introduce brings a new customer: some look around without a name first, nine in ten give consent.
func (f *traffic) introduce(stamp func(map[string]any) map[string]any, track func(string, string, int) map[string]any) []map[string]any {
	f.customers++
	n := f.customers
	user, anonymous := fmt.Sprintf("user-%d", n), fmt.Sprintf("anonymous-%d", n)
	var out []map[string]any
	identify := stamp(map[string]any{
		"type": "identify", "messageId": fmt.Sprintf("identify-%d", n), "userId": user,
		"traits": map[string]any{"email": user + "@crash.example"},
	})
	view := func() map[string]any {
		f.views++
		return stamp(map[string]any{
			"type": "track", "messageId": fmt.Sprintf("view-%d", f.views), "anonymousId": anonymous, "event": "product_viewed",
			"properties": map[string]any{"product": "thing"},
		})
	}
	if n%3 == 0 {
		out = append(out, view())
		identify["anonymousId"] = anonymous
	}
	out = append(out, identify)
	if n%10 != 0 {
		consent := track(user, "consent_given", 0)
		consent["messageId"] = fmt.Sprintf("consent-%d", n)
		consent["properties"] = map[string]any{"channel": "email", "topic": "*", "basis": "express", "evidence": "crash test"}
		out = append(out, consent)
	}
	if n%3 == 0 {
		out = append(out, view()) // by now it is known whose it is
	}
	return out
}

// run publishes at a rate until the context ends; what is under way is still brought to its end.
func (f *traffic) run(ctx context.Context, perSecond int) {
	var wg sync.WaitGroup
	defer wg.Wait()
	queues := make([]chan []map[string]any, 4)
	for n := range queues {
		queues[n] = make(chan []map[string]any, 4096)
		wg.Go(func() { f.publish(context.WithoutCancel(ctx), n, queues[n]) })
		defer close(queues[n])
	}
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		queues[n%len(queues)] <- f.next()
	}
}

// publish sends what is in a queue, until it is acknowledged, whatever happens to the replicas.
func (f *traffic) publish(ctx context.Context, n int, queue <-chan []map[string]any) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	i := importer{urls: f.urls, next: n}
	for action := range queue {
		var batch []json.RawMessage
		for _, m := range action {
			data, err := json.Marshal(m)
			if err != nil {
				f.t.Error(err)
				return
			}
			batch = append(batch, data)
		}
		refused, err := i.send(ctx, batch)
		if err != nil {
			f.t.Errorf("publish: %v", err)
			return
		}
		f.took(batch, refused)
		i.next++ // the replicas in turn
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.retries += i.retries
}

func (f *traffic) took(batch []json.RawMessage, refused map[int]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n, m := range batch {
		if why, no := refused[n]; no {
			f.refused = append(f.refused, idOf(f.t, m)+" "+why)
			continue
		}
		f.accepted = append(f.accepted, idOf(f.t, m))
	}
}
