package stage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// stopped is a partition that is taken over and that nothing steps.
func (m *mesh) stopped() (*Stage, *partition) {
	m.t.Helper()
	return m.stoppedWith(m.fold)
}

func (m *mesh) stoppedWith(f Fold) (*Stage, *partition) {
	m.t.Helper()
	s := m.again(f)
	if err := s.reference.Read(s.reference.Mark(), time.Now()); err != nil { // so that no ping asks for the time
		m.t.Fatal(err)
	}
	if err := s.start(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	return s, s.owned()[0]
}

func (p *partition) waitingRequests() int {
	p.doors.mu.Lock()
	defer p.doors.mu.Unlock()
	return len(p.doors.requests)
}

func (m *mesh) stepAll(p *partition) {
	m.t.Helper()
	for worked := true; worked; {
		var err error
		if worked, err = p.step(m.t.Context(), limit{}); err != nil {
			m.t.Fatal(err)
		}
	}
}

// A request whose caller has gone is not decided, wherever it waits.
func TestARequestEndsWithItsCaller(t *testing.T) {
	m := newMesh(t, 1, 16)
	s, p := m.stopped()
	for n := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		asked := make(chan error, 1)
		go func() {
			_, err := s.Do(ctx, 0, Request{ID: fmt.Sprint(n), Key: key("ann"), Body: 1})
			asked <- err
		}()
		eventually(t, "it waits", func() bool { return p.waitingRequests() == 1 })
		if n%2 == 0 { // it has come in already
			if err := p.gather(t.Context(), limit{}); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if err := <-asked; fault.Of(err) != fault.Unavailable {
			t.Fatalf("got %v, want Unavailable", err)
		}
		if got := p.waitingRequests(); got != 0 {
			t.Fatalf("%d requests of callers that have gone wait", got)
		}
	}
	m.stepAll(p)
	if got := m.row("profile", "ann").Sum; got != 0 {
		t.Errorf("sum: got %d, want 0", got)
	}
}

// refusing is a fold that has nothing to record for a request: it answers with an error.
type refusing struct{ *ledger }

func (f refusing) Decide(in Input, rows Rows, env Env) (Outcome, error) {
	if in.Source == FromRPC {
		return Outcome{}, fault.New(fault.NotFound, "find reservation %s", in.ID)
	}
	return f.ledger.Decide(in, rows, env)
}

// An answer that needs no record is given by the owner only. A process that has lost the partition, with a store that
// was set back to where it had been, would say of what the new owner has recorded that it is not there.
func TestOnlyTheOwnerAnswersWithoutARecord(t *testing.T) {
	m := newMesh(t, 1, 16)
	ask := func(s *Stage, p *partition) (step, reply error) {
		asked := make(chan error, 1)
		go func() {
			_, err := s.Do(t.Context(), 0, Request{ID: "r1", Key: key("ann"), Body: 1})
			asked <- err
		}()
		eventually(t, "it waits", func() bool { return p.waitingRequests() == 1 })
		if _, step = p.step(t.Context(), limit{}); step != nil {
			p.rejectAll() // as the runner does
		}
		return step, <-asked
	}
	paused, old := m.stoppedWith(refusing{m.fold})
	if step, reply := ask(paused, old); step != nil || fault.Of(reply) != fault.NotFound {
		t.Fatalf("the owner: step %v, reply %v; want the fold's answer", step, reply)
	}
	m.store = state.NewMemory() // the old one is as the paused process has left it
	m.stopped()
	if step, reply := ask(paused, old); !errors.Is(step, errLost) || fault.Of(reply) != fault.Unavailable {
		t.Fatalf("the owner before: step %v, reply %v; want %v and Unavailable", step, reply, errLost)
	}
}

// So many requests wait, and no more: who comes then knows at once that nothing was done.
func TestRequestsThatWaitAreBounded(t *testing.T) {
	m := newMesh(t, 1, 16)
	s, p := m.stopped()
	var callers sync.WaitGroup
	for n := range maxRequests {
		callers.Go(func() {
			if got, err := s.Do(t.Context(), 0, Request{ID: fmt.Sprint(n), Key: key(fmt.Sprint("c", n)), Body: 1}); err != nil || got != 1 {
				t.Errorf("request %d: got %v, %v, want 1", n, got, err)
			}
		})
	}
	eventually(t, "all wait", func() bool { return p.waitingRequests() == maxRequests })
	if _, err := s.Do(t.Context(), 0, Request{ID: "one more", Key: key("ann"), Body: 1}); fault.Of(err) != fault.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
	m.stepAll(p)
	callers.Wait()
}

// Callers that ask for the same thing at the same time have one request, and one answer; it does not end with the
// first of them. The same id for another row is another request.
func TestOneRequestForEachID(t *testing.T) {
	m := newMesh(t, 1, 16)
	s, p := m.stopped()
	first, cancel := context.WithCancel(t.Context())
	defer cancel()
	left := make(chan error, 1)
	go func() {
		_, err := s.Do(first, 0, Request{ID: "a", Key: key("ann"), Body: 1})
		left <- err
	}()
	eventually(t, "the first waits", func() bool { return p.waitingRequests() == 1 })
	var others sync.WaitGroup
	for _, who := range []string{"ann", "ann", "ann", "bob"} {
		others.Go(func() {
			if got, err := s.Do(t.Context(), 0, Request{ID: "a", Key: key(who), Body: 1}); err != nil || got != 1 {
				t.Errorf("%s: got %v, %v, want 1", who, got, err)
			}
		})
	}
	eventually(t, "all have joined", func() bool {
		p.doors.mu.Lock()
		defer p.doors.mu.Unlock()
		same := p.doors.asked[asked{key("ann"), "a"}]
		return len(p.doors.requests) == 2 && same != nil && same.callers == 4
	})
	cancel()
	<-left
	m.stepAll(p)
	others.Wait()
}

// Whatever comes in masses, a batch begins with what the control lane has and holds something of everything.
func TestABatchHoldsSomethingOfEverything(t *testing.T) {
	m := newMesh(t, 1, 16)
	_, p := m.stopped()
	for n := range 1000 {
		p.doors.calls++
		p.returned(Input{Source: FromCall, Name: callInput, ID: fmt.Sprint(n), Key: key("ann"), At: time.Now(), Request: 1})
		p.doors.mu.Lock()
		p.doors.requests = append(p.doors.requests, &request{in: Input{Source: FromRPC, Name: "rpc", ID: fmt.Sprint(n), Key: key("ann"), Request: 1}, done: make(chan struct{})})
		p.doors.mu.Unlock()
	}
	for range 20 {
		for _, lane := range []string{log.LaneControl, log.LaneLive} {
			a := m.add("bob", 1)
			a.lane = lane
			m.publish(m.broker, nil, a)
		}
	}
	eventually(t, "both lanes have arrived", func() bool {
		for _, r := range p.readers {
			if it, err := r.peek(); (r.lane == log.LaneControl || r.lane == log.LaneLive) && (it == nil || err != nil) {
				return false
			}
		}
		return true
	})
	if err := p.gather(t.Context(), limit{}); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, it := range p.pending {
		count[it.input.Name]++
	}
	if p.pending[0].input.Name != "evt.control" || count["evt.control"] != 12 || count["evt.live"] < 1 || count["rpc"] < 1 || count["call"] < 1 {
		t.Errorf("a batch begins with %s and holds %v", p.pending[0].input.Name, count)
	}
}

// With batches of one, every door has its turn.
func TestBatchesOfOneLeaveNoneOut(t *testing.T) {
	m := newMesh(t, 1, 1)
	_, p := m.stopped()
	for n := range 50 {
		p.doors.calls++
		p.returned(Input{Source: FromCall, Name: callInput, ID: fmt.Sprint(n), Key: key("ann"), At: time.Now(), Request: 1})
	}
	m.publish(m.broker, nil, m.add("bob", 1))
	eventually(t, "the lane has arrived", func() bool {
		for _, r := range p.readers {
			if r.lane == log.LaneLive {
				it, _ := r.peek()
				return it != nil
			}
		}
		return false
	})
	for range 10 {
		if _, err := p.step(t.Context(), limit{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.row("profile", "bob").Sum; got != 1 {
		t.Errorf("bob: got %d, want 1", got)
	}
}
