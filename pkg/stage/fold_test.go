package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"
)

// ledger is the test's fold: customers with a sum. It does everything a real fold may do: facts, states,
// deltas, letters to other partitions, timers, calls, requests and errors.
type ledger struct {
	partitions int
	idle       bool                       // facts of the chain before lead to nothing
	at         func(revision string) bool // says what is ready; nil: everything
}

type entry struct {
	Customer string        `json:"customer"`
	Add      int           `json:"add"`
	Letter   string        `json:"letter,omitempty"` // tell this customer as well
	Later    time.Duration `json:"later,omitempty"`  // add once more then
	Call     bool          `json:"call,omitempty"`   // and once more when a call comes back
	ID       string        `json:"id,omitempty"`
	Bad      bool          `json:"bad,omitempty"`
	Panic    bool          `json:"panic,omitempty"`
	Needs    string        `json:"needs,omitempty"` // a revision that must be ready
}

type sum struct {
	Sum   int      `json:"sum"`
	Wakes []wake   `json:"wakes,omitempty"`
	Gaps  []string `json:"gaps,omitempty"`
	Asked []string `json:"asked,omitempty"`
}

type wake struct {
	At    time.Time `json:"at"`
	Add   int       `json:"add"`
	Trace string    `json:"trace,omitempty"`
}

func (f *ledger) home(customer string) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(customer))
	return int(h.Sum64() % uint64(f.partitions))
}

func key(customer string) string { return "t/c/" + customer }

func (f *ledger) Needs(in Input, _ time.Time) (Needs, error) {
	switch in.Source {
	case FromLane, FromBox, FromRedrive:
		e, err := decode(in.Payload)
		if err != nil {
			return Needs{}, err
		}
		n := Needs{Rows: []string{key(e.Customer)}}
		if e.ID != "" {
			n.Members = []Member{{Set: key(e.Customer) + "/seen", Value: e.ID}}
		}
		return n, nil
	case FromBefore, FromAfter, FromTimer, FromRPC, FromCall:
	}
	return Needs{Rows: []string{in.Key}}, nil
}

func decode(payload []byte) (entry, error) {
	var e entry
	err := json.Unmarshal(payload, &e)
	return e, err
}

// encode is for values that cannot fail.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

func (f *ledger) Decide(in Input, rows Rows, env Env) (Outcome, error) {
	switch in.Source {
	case FromTimer:
		return f.due(in, rows, env), nil
	case FromRPC:
		return f.ask(in, rows), nil
	case FromCall:
		return f.add(in, rows, env, entry{Customer: strings.TrimPrefix(in.Key, "t/c/"), Add: in.Request.(int)}), nil
	case FromBefore:
		if f.idle {
			return Outcome{}, nil
		}
		s := load(rows, in.Key)
		s.Sum += len(in.Facts)
		return Outcome{Cells: []Cell{cell(in.Key, s, fmt.Sprintf("seen %d at %s", len(in.Facts), env.Now.Format(time.RFC3339)))}}, nil
	case FromLane, FromBox, FromRedrive, FromAfter:
	}
	e, err := decode(in.Payload)
	if err != nil {
		return Outcome{}, err
	}
	if e.Needs != "" && f.at != nil && !f.at(e.Needs) {
		return Outcome{}, NotReady("add", e.Needs)
	}
	if e.Panic && in.Source != FromRedrive {
		panic("asked to")
	}
	if e.Bad && in.Source != FromRedrive {
		return Outcome{}, fmt.Errorf("entry of %s is bad", e.Customer)
	}
	if e.ID != "" && rows.Has(key(e.Customer)+"/seen", e.ID) {
		return Outcome{}, nil
	}
	out := f.add(in, rows, env, e)
	if e.Letter != "" {
		letter := encode(entry{Customer: e.Letter, Add: e.Add})
		out.Addressed = []Addressed{{Stage: "profile", Partition: f.home(e.Letter), Payload: letter}}
	}
	if e.Call {
		out.Calls = []Call{{ID: "call-" + in.id(), Key: key(e.Customer), Request: e.Add}}
	}
	return out, nil
}

func (f *ledger) add(in Input, rows Rows, env Env, e entry) Outcome {
	s := load(rows, key(e.Customer))
	s.Sum += e.Add
	if e.Later > 0 {
		s.Wakes = append(s.Wakes, wake{At: env.Now.Add(e.Later), Add: e.Add, Trace: in.Traceparent})
	}
	c := cell(key(e.Customer), s, fmt.Sprintf("%d -> %d at %s", e.Add, s.Sum, env.Now.UTC().Format(time.RFC3339Nano)))
	if e.ID != "" {
		c.Deltas = append(c.Deltas, &stagev1.Delta{Name: key(e.Customer) + "/seen", Kind: stagev1.DeltaKind_DELTA_KIND_ADD, Value: []byte(e.ID)})
	}
	return Outcome{Cells: []Cell{c}}
}

func (f *ledger) due(in Input, rows Rows, env Env) Outcome {
	s := load(rows, in.Key)
	var rest []wake
	var facts, links []string
	for _, w := range s.Wakes {
		if w.At.After(env.Now) {
			rest = append(rest, w)
			continue
		}
		s.Sum += w.Add
		if w.Trace != "" {
			links = append(links, w.Trace)
		}
		facts = append(facts, fmt.Sprintf("timer %d -> %d at %s", w.Add, s.Sum, env.Now.UTC().Format(time.RFC3339Nano)))
	}
	if len(facts) == 0 {
		return Outcome{}
	}
	s.Wakes = rest
	return Outcome{Cells: []Cell{cell(in.Key, s, facts...)}, Links: links}
}

func (f *ledger) ask(in Input, rows Rows) Outcome {
	s := load(rows, in.Key)
	if slices.Contains(s.Asked, in.ID) {
		return Outcome{Reply: s.Sum}
	}
	s.Asked = append(s.Asked, in.ID)
	s.Sum += in.Request.(int)
	return Outcome{Cells: []Cell{cell(in.Key, s, fmt.Sprintf("asked -> %d", s.Sum))}, Reply: s.Sum}
}

func (f *ledger) Gap(in Input, rows Rows, _ Env, letter string) Outcome {
	e, err := decode(in.Payload)
	if err != nil {
		return Outcome{}
	}
	s := load(rows, key(e.Customer))
	s.Gaps = append(s.Gaps, letter)
	return Outcome{Cells: []Cell{cell(key(e.Customer), s, "gap")}}
}

func load(rows Rows, k string) sum {
	var s sum
	_ = json.Unmarshal(rows.Own(k), &s)
	return s
}

func cell(k string, s sum, facts ...string) Cell {
	c := Cell{Key: k, State: encode(s)}
	for _, f := range facts {
		c.Facts = append(c.Facts, []byte(f))
	}
	for _, w := range s.Wakes {
		if c.Wake.IsZero() || w.At.Before(c.Wake) {
			c.Wake = w.At
		}
	}
	return c
}

// echo is a Caller that returns what it was asked with.
type echo struct{}

func (echo) Call(_ context.Context, _ int, c Call, done func(any)) { done(c.Request) }
