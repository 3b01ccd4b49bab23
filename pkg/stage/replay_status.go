package stage

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Status is where a replay clock stands.
type Status struct {
	// Now is the instant released last, Until the one up to which there may be something to do: the greatest time of
	// an event that has arrived, or the one to which the clock was advanced.
	Now, Until time.Time
	// Settled says that all that was published is applied, and that nothing is left to do up to Until.
	Settled bool
	// Held is the newest instant, if nothing but Advance is missing to release it: more events of it may come.
	Held time.Time
	// Open says what is not settled, in words; empty if Settled.
	Open []string
	// Instants counts those released since the start.
	Instants uint64
	// Wall says that the replay has ended.
	Wall bool
}

// atWork is what the driver has to do. All but asked is guarded by the clock's lock.
type atWork struct {
	// asked counts how often there may have been something to do, and done is the count that the driver had read
	// before everything that may be released came to rest.
	asked atomic.Uint64
	done  uint64
	// next is the earliest instant that is left then; zero for none.
	next time.Time
	// rest is closed, and made anew, whenever the driver comes to rest.
	rest chan struct{}
	// place is the partition at work, what says what it waits for.
	place, what string
}

// begin notes that an instant is released.
func (w *atWork) begin() {
	w.next, w.done = time.Time{}, 0
}

// end tells all that wait that the driver looked and found nothing more to release.
func (w *atWork) end() {
	close(w.rest)
	w.rest = make(chan struct{})
	w.place, w.what = "", ""
}

// work notes which partition the driver is at, and what for.
func (r *Replay) work(p *partition, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.atWork.place, r.atWork.what = fmt.Sprintf("%s, partition %d", p.cfg.Spec.Name, p.number), what
}

// waits notes what keeps a partition from going on.
func (r *Replay) waits(p *partition) func(error) {
	return func(err error) { r.work(p, err.Error()) }
}

// Status says where the clock stands.
func (r *Replay) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status()
}

func (r *Replay) status() Status {
	w := &r.atWork
	st := Status{Now: r.now, Until: latest(r.newest, r.bound), Instants: r.instants, Wall: r.wall}
	looked := w.done > 0 && w.done == w.asked.Load()
	due := !w.next.IsZero() && !w.next.After(st.Until)
	if looked && due && len(r.open) == 0 {
		st.Held = w.next
	}
	st.Settled = looked && !due && len(r.open) == 0
	if !st.Settled && !st.Wall {
		st.Open = r.unsettled(st, looked)
	}
	return st
}

// unsettled says what is left to do, from what comes first.
func (r *Replay) unsettled(st Status, looked bool) []string {
	var out []string
	if n := len(r.open); n > 0 {
		out = append(out, fmt.Sprintf("%d publications are being stored", n))
	}
	switch w := &r.atWork; {
	case !st.Held.IsZero():
		out = append(out, fmt.Sprintf("the newest instant, %s, waits for an advance (PT0S is enough), since more events of it may come",
			st.Held.UTC().Format(time.RFC3339Nano)))
	case !looked && w.place == "":
		out = append(out, "what came last was not looked at yet")
	case !looked:
		out = append(out,
			fmt.Sprintf("the instant %s is under way, up to %s", st.Now.UTC().Format(time.RFC3339Nano), st.Until.UTC().Format(time.RFC3339Nano)),
			w.place+": "+cmp.Or(w.what, "decides"))
	}
	return out
}

// Await returns when all is settled or the replay has ended, or when nothing goes on before the clock is advanced
// (Status.Held), or when the context ends, with what then is.
func (r *Replay) Await(ctx context.Context) Status {
	for {
		r.mu.Lock()
		st, rest := r.status(), r.atWork.rest
		r.mu.Unlock()
		if st.Settled || st.Wall || !st.Held.IsZero() {
			return st
		}
		select {
		case <-rest:
		case <-ctx.Done():
			return st
		}
	}
}
