package simulate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/simulate"
	"refrain.dev/pkg/simulate/schedule"
)

// onNode runs f as the process of the node "n" under faults and returns the world afterwards.
func onNode(t *testing.T, faults string, f func(ctx context.Context, p *simulate.Process)) (*simulate.World, simulate.Result) {
	t.Helper()
	sched, err := schedule.Parse(faults)
	if err != nil {
		t.Fatal(err)
	}
	w := provisioned(t, simulate.Config{Seed: 9, Schedule: sched})
	done := false
	w.Node("n", simulate.NodeConfig{}).Start(func(p *simulate.Process) error {
		_ = p.Sleep(p.Context(), time.Second)
		f(p.Context(), p)
		done = true
		_, err := p.Clock().Wait(p.Context(), clock.Forever)
		return err
	})
	r := w.Run(func(ctx context.Context, p *simulate.Process) error {
		if !p.Until(ctx, time.Minute, time.Second, func() bool { return done }) {
			return errors.New("it does not end")
		}
		return p.Sleep(ctx, 10*time.Second)
	})
	for _, v := range r.Violations {
		t.Errorf("%s: %s: %s", faults, v.Rule, v.Text)
	}
	return w, r
}

func TestPublishUnderFaults(t *testing.T) {
	for fault, want := range map[string]struct {
		err    error
		stored int
	}{
		"what=lost on=log:evt.":                         {log.ErrUnknown, 0},
		"what=lost on=log:prf.":                         {nil, 1},
		"what=lost on=log:evt. node=other":              {nil, 1},
		"what=lost on=log:evt. node=n":                  {log.ErrUnknown, 0},
		"what=lost-read on=log:evt.":                    {nil, 1},
		"what=applied on=log:evt.":                      {log.ErrUnknown, 1},
		"what=late on=log:evt. for=5s":                  {log.ErrUnknown, 1},
		"what=late on=log:evt. for=1h":                  {log.ErrUnknown, 0},
		"what=double on=log:evt.":                       {nil, 2},
		"what=slow on=log:evt. for=1s":                  {nil, 1},
		"what=slow on=log:evt. for=3s":                  {log.ErrUnknown, 1}, // given up, then it lands
		"what=unavailable for=1h":                       {log.ErrUnknown, 0},
		"what=unavailable on=stream:EVENTS-g1-0 for=1h": {log.ErrUnknown, 0},
		"what=unavailable on=stream:EVENTS-g1-1 for=1h": {nil, 1},
		"what=full on=stream:EVENTS-g1-0 for=1h":        {log.ErrFull, 0},
		"what=full on=stream:EVENTS-g1-0 for=10ms":      {nil, 1},
		"what=pending on=log:evt.":                      {nil, 1},
	} {
		w, r := onNode(t, "when=at:0s "+fault, func(ctx context.Context, p *simulate.Process) {
			limited, cancel := p.Clock().Within(ctx, 2500*time.Millisecond)
			defer cancel()
			data := []byte("x")
			at, err := p.Broker().Publish(limited, "evt.live.0", data)
			data[0] = 'y' // the caller may
			if !errors.Is(err, want.err) || (at > 0) != (err == nil) {
				t.Errorf("%s: got %d, %v, want %v", fault, at, err, want.err)
			}
		})
		if got := published(t, w, "evt.live.0"); got != want.stored {
			t.Errorf("%s: %d stored, want %d", fault, got, want.stored)
		}
		if m, err := w.Log().Last(t.Context(), "evt.live.0"); err == nil && string(m.Data) != "x" {
			t.Errorf("%s: stored %q", fault, m.Data)
		}
		took := false
		for goal := range r.Goals {
			took = took || strings.HasPrefix(goal, "fault.")
		}
		if hit := want.err != nil || want.stored > 1 || strings.Contains(fault, "slow"); took != hit {
			t.Errorf("%s: took effect: %v, %v", fault, took, r.Goals)
		}
	}
}

// What lands late does so under its own expectation: the repeat of an append finds it or is found.
func TestAppendsUnderFaults(t *testing.T) {
	for fault, want := range map[string]error{
		"what=pending on=log:prf.":                   log.ErrPending,
		"what=late on=log:prf. for=100ms":            nil,
		"what=applied on=log:prf.":                   nil,
		"what=lost on=log:prf.":                      nil,
		"what=lost-read on=log:prf. times=2":         nil,
		"what=unavailable on=log:prf. for=4s":        nil,
		"what=double on=log:prf.":                    nil, // not on appends
		"what=lost on=log:prf. times=3":              nil,
		"what=slow on=log:prf. for=700ms count=10":   nil,
		"what=full on=stream:PROFILES-g1-0 for=500s": log.ErrFull,
	} {
		w, _ := onNode(t, "when=at:0s "+fault, func(ctx context.Context, p *simulate.Process) {
			genesis, err := w0last(ctx, p)
			if err != nil {
				t.Fatalf("%s: %v", fault, err)
			}
			if errors.Is(want, log.ErrPending) {
				if _, err := p.Broker().Append(ctx, "prf.0", genesis, []byte("a")); !errors.Is(err, want) {
					t.Errorf("%s: got %v", fault, err)
				}
			}
			limited, cancel := p.Clock().Within(ctx, 20*time.Second)
			defer cancel()
			_, err = log.OpenChain(p.Broker(), "prf.0", p.Clock()).Append(limited, genesis, []byte("a"))
			if err != nil && !errors.Is(err, want) || err == nil && errors.Is(want, log.ErrFull) {
				t.Errorf("%s: got %v, want %v", fault, err, want)
			}
		})
		stored := 2
		if errors.Is(want, log.ErrFull) {
			stored = 1
		}
		if got := published(t, w, "prf.0"); got != stored {
			t.Errorf("%s: %d records, want %d", fault, got, stored)
		}
	}
}

// w0last reads the chain's end until there is an answer.
func w0last(ctx context.Context, p *simulate.Process) (uint64, error) {
	for range 20 {
		m, err := p.Broker().Last(ctx, "prf.0")
		if err == nil {
			return m.Sequence, nil
		}
		if !errors.Is(err, log.ErrUnknown) {
			return 0, err
		}
		_ = p.Sleep(ctx, time.Second)
	}
	return 0, errors.New("no answer")
}

func TestKVUnderFaults(t *testing.T) {
	for fault, want := range map[string]string{
		"what=lost on=kv:k": "unknown, nothing", "what=applied on=kv:k": "unknown, v", "what=late on=kv:k for=1s": "unknown, v",
		"what=unavailable on=kv: for=1500ms": "unknown, nothing", "what=lost on=kv:other": "ok, v", "what=double on=kv:k": "ok, v",
		"what=lost-read on=kv:k": "ok, unread",
	} {
		onNode(t, "when=at:0s "+fault, func(ctx context.Context, p *simulate.Process) {
			got := "ok, "
			if err := p.KV().Put(ctx, "k", []byte("v")); errors.Is(err, log.ErrUnknown) {
				got = "unknown, "
			} else if err != nil {
				t.Fatal(err)
			}
			_ = p.Sleep(ctx, 5*time.Second)
			switch v, _, err := p.KV().Get(ctx, "k"); {
			case errors.Is(err, log.ErrNotFound):
				got += "nothing"
			case err != nil:
				got += "unread"
			default:
				got += string(v)
			}
			if got != want {
				t.Errorf("%s: got %q, want %q", fault, got, want)
			}
			if keys, err := p.KV().Keys(ctx, "k"); err != nil || len(keys) > 1 {
				t.Errorf("%s: keys %v, %v", fault, keys, err)
			}
		})
	}
}

// What the model excludes is noticed: a feed and a chain say that the log lost data.
func TestBeyondTheModel(t *testing.T) {
	for _, fault := range []string{"what=suffix on=stream:EVENTS-g1-0 count=2", "what=recreated on=stream:EVENTS-g1-0"} {
		_, r := onNode(t, "when=point:test.now#1 "+fault, func(ctx context.Context, p *simulate.Process) {
			var last uint64
			for range 3 {
				at, err := p.Broker().Publish(ctx, "evt.live.0", []byte("x"))
				if err != nil {
					t.Fatal(err)
				}
				last = at
			}
			f, err := p.Broker().Feed(ctx, map[string]uint64{"evt.live.0": last})
			if err != nil {
				t.Fatal(err)
			}
			p.Points().At("test.now")
			_, _ = f.Tail("evt.live.0").Peek()
			if err := f.Tail("evt.live.0").Err(); !errors.Is(err, log.ErrLogLostData) {
				t.Errorf("%s: got %v", fault, err)
			}
		})
		if len(r.Goals) != 2 { // the point and the fault
			t.Errorf("%s: goals %v", fault, r.Goals)
		}
	}
	_, _ = onNode(t, "when=point:test.now#1 what=suffix on=stream:PROFILES-g1-0", func(ctx context.Context, p *simulate.Process) {
		genesis, err := w0last(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		chain := log.OpenChain(p.Broker(), "prf.0", p.Clock())
		at, err := chain.Append(ctx, genesis, []byte("a"))
		if err != nil {
			t.Fatal(err)
		}
		p.Points().At("test.now")
		if _, err := chain.Append(ctx, at, []byte("b")); !errors.Is(err, log.ErrLogLostData) {
			t.Errorf("got %v", err)
		}
	})
}

// Messages reach feeds late, some feeds later than others, but in order and without loss.
func TestFeeds(t *testing.T) {
	sched, err := schedule.Parse("when=at:500ms what=held on=feed:evt. node=b for=20s")
	if err != nil {
		t.Fatal(err)
	}
	w := provisioned(t, simulate.Config{Seed: 9, Schedule: sched})
	arrived := map[string][]time.Duration{}
	for _, name := range []string{"a", "b"} {
		w.Node(name, simulate.NodeConfig{}).Start(func(p *simulate.Process) error {
			f, err := p.Broker().Feed(p.Context(), map[string]uint64{"evt.live.0": 0, "evt.control.0": 0})
			if err != nil {
				return err
			}
			defer f.Close()
			tail := f.Tail("evt.live.0")
			p.Go(func() { // what has not arrived is not there, whoever looks
				_ = p.Sleep(p.Context(), 10*time.Second)
				if _, ok := tail.Peek(); ok {
					t.Errorf("%s: something is there that did not wake its reader", name)
				}
			})
			for next := byte(0); ; {
				if m, ok := tail.Peek(); ok {
					if m.Data[0] != next {
						t.Errorf("%s: got %d, want %d", name, m.Data[0], next)
					}
					next++
					arrived[name] = append(arrived[name], w.Elapsed())
					tail.Pop()
					continue
				}
				if _, err := p.Clock().Wait(p.Context(), clock.Forever, tail.Wake()); err != nil {
					return err
				}
			}
		})
	}
	r := w.Run(func(ctx context.Context, p *simulate.Process) error {
		for n := range byte(50) {
			if _, err := p.Broker().Publish(ctx, "evt.live.0", []byte{n}); err != nil {
				return err
			}
			_ = p.Sleep(ctx, 50*time.Millisecond)
		}
		return p.Sleep(ctx, 30*time.Second)
	})
	if len(arrived["a"]) != 50 || len(arrived["b"]) != 50 || len(r.Violations) > 0 {
		t.Fatalf("arrived %d and %d, %v", len(arrived["a"]), len(arrived["b"]), r.Violations)
	}
	if arrived["a"][49] > 4*time.Second || arrived["b"][49] < 20*time.Second || arrived["b"][0] > time.Second {
		t.Errorf("the last arrived at %s and %s, the first at %s", arrived["a"][49], arrived["b"][49], arrived["b"][0])
	}
}

// A call to the outside is made once, not at all or twice, and the caller learns what it may.
func TestOutside(t *testing.T) {
	for fault, want := range map[string]struct {
		made   int
		failed bool
	}{
		"what=lost on=out:smtp": {0, true}, "what=applied on=out:smtp": {1, true}, "what=late on=out:smtp for=1s": {1, true},
		"what=double on=out:smtp": {2, false}, "what=unavailable on=out: for=1h": {0, true}, "what=lost on=out:sms": {1, false},
	} {
		made := 0
		onNode(t, "when=at:0s "+fault, func(ctx context.Context, p *simulate.Process) {
			err := p.Outside(ctx, "smtp", 10, func() error {
				made++
				return nil
			})
			if (err != nil) != want.failed {
				t.Errorf("%s: got %v", fault, err)
			}
		})
		if made != want.made {
			t.Errorf("%s: made %d times, want %d", fault, made, want.made)
		}
	}
}

// Others run between the begin of an operation and its effect, and between its effect and its end.
func TestPortsLetOthersRun(t *testing.T) {
	before, after := 0, 0
	alone(t, func(ctx context.Context, p *simulate.Process) error {
		begun, done, over := false, false, false
		p.Go(func() {
			for !over {
				if begun && !done {
					before++
				}
				if done {
					after++
				}
				_ = p.Sleep(ctx, 0)
			}
		})
		for range 100 {
			begun, done = true, false
			err := p.Outside(ctx, "x", 0, func() error {
				done = true
				return nil
			})
			begun, done = false, false
			if err != nil {
				return err
			}
		}
		over = true
		return nil
	})
	if before < 10 || after < 10 {
		t.Errorf("others ran %d times before and %d times after", before, after)
	}
}
