package ingestsvc

import (
	"sync"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/identity"
)

// mostRecent is how many events each half of recent remembers.
const mostRecent = 32 << 10

// recent remembers where events were stored of submissions that were taken in part: their publishers send
// all again, and what is there need not be stored again each time. It forgets the oldest; then an event is
// stored twice, which its home recognises.
type recent struct {
	mu          sync.Mutex
	now, before map[string]*eventv1.Position
}

// recentKey is what makes an event: one id of two customers is two events.
func recentKey(it *item) string {
	return identity.Derive("recent", it.event.GetTenant(), it.event.GetId(), string(it.customer))
}

// note remembers what of a submission is stored.
func (r *recent) note(s submission, results []result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n, res := range results {
		it := s.items[n]
		if res.position == nil || it.stored != nil || urgent(s, it) {
			continue
		}
		if r.now == nil || len(r.now) >= mostRecent {
			r.now, r.before = map[string]*eventv1.Position{}, r.now
		}
		r.now[recentKey(it)] = res.position
	}
}

// recall marks the items that are known to be stored.
func (r *recent) recall(s submission) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.now) == 0 {
		return
	}
	for _, it := range s.items {
		if len(it.problems) > 0 || urgent(s, it) || it.event.GetId() == "" {
			continue
		}
		key := recentKey(it)
		if it.stored = r.now[key]; it.stored == nil {
			it.stored = r.before[key]
		}
	}
}
