package decisionsvc

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/journey"
	"refrain.dev/pkg/stage"
)

const workspace = `
revision: "r1"
resources { metadata { name: "shop" } workspace { tenant: "default" } }
resources { metadata { name: "order" } event { type: "Order Completed" properties { key: "total" value: "double" } } }
resources { metadata { name: "orders" } trait { type: "int" count { event: "order" } } }
resources { metadata { name: "email" } channel { adapter: "file" endpoint: "email" config { key: "path" value: "mail.jsonl" } } }
resources { metadata { name: "web" } channel { adapter: "none" } }
resources { metadata { name: "welcome-mail" } action { purpose: "service" treatments { id: "m" channel: "email" subject: "Hello" } } }
resources { metadata { name: "banner" } action { purpose: "service" value: "2.0" treatments { id: "w" channel: "web" subject: "Hi" body { text: "Dear {{ customer.id }}" } } } }
resources { metadata { name: "vip-banner" } action { purpose: "service" eligibility: "traits.orders > 100" treatments { id: "w" channel: "web" } } }
resources { metadata { name: "ad" } action { purpose: "marketing" treatments { id: "w" channel: "web" topic: "news" } } }
resources { metadata { name: "outbound" } placement { filled: "by_mesh" collect: "PT10M" } }
resources { metadata { name: "home" } placement { filled: "on_request" takes { channel: "web" } size: 2 actions: "banner" actions: "vip-banner" actions: "ad" } }
resources { metadata { name: "news" } topic { title: "News" } }
resources { metadata { name: "welcome" } journey {
  entry { event: "order" where: "event.total > 10.0" }
  exit { event: "refund" }
  steps { id: "mail" action: "welcome-mail" }
  steps { id: "breathe" wait: "P1D" }
} }
`

// bundle is the workspace as stored.
func bundle(t testing.TB) []byte {
	t.Helper()
	b := &definitionv1.Bundle{}
	if err := prototext.Unmarshal([]byte(workspace), b); err != nil {
		t.Fatalf("parse bundle: %v", err)
	}
	raw, err := b.MarshalVT()
	if err != nil {
		t.Fatalf("encode bundle: %v", err)
	}
	return raw
}

// shelf is a Book with one catalog.
type shelf struct{ only *entry }

func newShelf(t testing.TB) shelf {
	t.Helper()
	c, err := catalog.Decode(bundle(t))
	if err != nil {
		t.Fatalf("compile bundle: %v", err)
	}
	return shelf{newEntry(c)}
}

func (s shelf) At(revision, _ string) (*Rules, bool) {
	if revision == "" {
		return &Rules{}, true
	}
	return s.only.rules, revision == s.only.rules.Revision
}

func (s shelf) Journey(_, _, hash string) (*journey.Definition, bool) {
	d, ok := s.only.journeys[hash]
	return d, ok
}

func (s shelf) Kinds(string) *event.Kinds { return s.only.kinds }

func (s shelf) Prepare(context.Context, string) error { return nil }

var start = time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)

func userID(value string) *eventv1.Identifier {
	return &eventv1.Identifier{Kind: "user_id", Value: value}
}

// person is a profile as the profile stage would leave it.
func person(id []byte) *profilev1.Profile {
	return &profilev1.Profile{Tenant: "default", Id: id, Version: 1, Leaves: []*profilev1.Leaf{{
		ProfileId: id,
		Traits:    []*profilev1.Trait{{Name: "orders", Value: event.Integer(1)}},
		Endpoints: []*profilev1.Endpoint{{Channel: "email", Address: "a@shop.example"}},
	}}}
}

func placed(id string, total float64) *profilev1.Fact {
	return &profilev1.Fact{Fact: &profilev1.Fact_EventApplied{EventApplied: &profilev1.EventApplied{Event: &eventv1.Event{
		Id: id, Tenant: "default", Type: "Order Completed", Kind: eventv1.Kind_KIND_TRACK, At: timestamppb.New(start),
		Properties: []*eventv1.Property{{Name: "total", Value: event.Number(total)}},
	}}}}
}

func happened(id, name string) *profilev1.Fact {
	return &profilev1.Fact{Fact: &profilev1.Fact_EventApplied{EventApplied: &profilev1.EventApplied{Event: &eventv1.Event{
		Id: id, Tenant: "default", Type: name, Kind: eventv1.Kind_KIND_TRACK, At: timestamppb.New(start),
	}}}}
}

func created(f *profilev1.Fact) *profilev1.Fact {
	f.GetEventApplied().Created = true
	return f
}

type message interface{ MarshalVT() ([]byte, error) }

func encode(t testing.TB, m message) []byte {
	t.Helper()
	raw, err := m.MarshalVT()
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return raw
}

// bench runs a fold on one customer's row, as the runtime would.
type bench struct {
	t       testing.TB
	fold    Fold
	now     time.Time
	key     string
	id      []byte
	profile *profilev1.Profile
	blind   bool
	own     []byte
	wake    time.Time
	last    stage.Outcome
}

func newBench(t testing.TB) *bench {
	id := []byte("0123456789abcdef")
	return &bench{t: t, fold: NewFold(newShelf(t)), now: start, id: id, key: identity.CustomerKey("default", id), profile: person(id)}
}

// Own implements stage.Rows.
func (b *bench) Own(string) []byte { return b.own }

// Has implements stage.Rows.
func (b *bench) Has(string, string) bool { return false }

// Foreign implements stage.Rows.
func (b *bench) Foreign(string, string) ([]byte, bool) {
	if b.blind {
		return nil, false
	}
	if b.profile == nil {
		return nil, true
	}
	return encode(b.t, b.profile), true
}

func (b *bench) env() stage.Env { return stage.Env{Now: b.now, Revision: "r1"} }

// decide runs the fold and keeps the row; it returns what happened.
func (b *bench) decide(in stage.Input) []string {
	b.t.Helper()
	in.Key = b.key
	if _, err := b.fold.Needs(in, time.Time{}); err != nil {
		b.t.Fatalf("needs: %v", err)
	}
	out, err := b.fold.Decide(in, b, b.env())
	if err != nil {
		b.t.Fatalf("decide: %v", err)
	}
	again, _ := b.fold.Decide(in, b, b.env())
	if len(again.Cells) != len(out.Cells) || (len(out.Cells) > 0 && string(again.Cells[0].State) != string(out.Cells[0].State)) {
		b.t.Fatal("equal arguments gave different outcomes")
	}
	return b.keep(out)
}

func (b *bench) keep(out stage.Outcome) []string {
	b.last = out
	var kinds []string
	for _, c := range out.Cells {
		if c.State != nil {
			b.own, b.wake = c.State, c.Wake
		}
		if c.Deleted {
			b.own, b.wake = nil, time.Time{}
		}
		for _, raw := range c.Facts {
			kinds = append(kinds, kindOf(b.t, raw))
		}
	}
	return kinds
}

func (b *bench) before(facts ...*profilev1.Fact) []string {
	b.t.Helper()
	return b.decide(b.cell(facts...))
}

func (b *bench) cell(facts ...*profilev1.Fact) stage.Input {
	in := stage.Input{Source: stage.FromBefore, Name: "prf", State: encode(b.t, b.profile)}
	for _, f := range facts {
		in.Facts = append(in.Facts, encode(b.t, f))
	}
	return in
}

// timer fires the row's wake-up at its time.
func (b *bench) timer() []string {
	b.t.Helper()
	if b.wake.After(b.now) {
		b.now = b.wake
	}
	return b.decide(stage.Input{Source: stage.FromTimer, Name: "timer"})
}

// timeline returns what the last input added to the customer's timeline.
func (b *bench) timeline() []*profilev1.TimelineEntry {
	b.t.Helper()
	var out []*profilev1.TimelineEntry
	for _, c := range b.last.Cells {
		for _, d := range c.Deltas {
			if d.GetKind() != stagev1.DeltaKind_DELTA_KIND_APPEND || d.GetName() != timelineList(b.key) {
				continue
			}
			e := &profilev1.TimelineEntry{}
			if err := e.UnmarshalVT(d.GetValue()); err != nil {
				b.t.Fatalf("decode timeline entry: %v", err)
			}
			out = append(out, e)
		}
	}
	return out
}

// noted returns the same in one line each.
func (b *bench) noted() []string {
	b.t.Helper()
	var out []string
	for _, e := range b.timeline() {
		line := e.GetWhat() + " " + e.GetSubject()
		for _, r := range e.GetReasons() {
			line += " " + strings.TrimPrefix(r.GetCode().String(), "CODE_")
		}
		out = append(out, line)
	}
	return out
}

func (b *bench) state() *decisionv1.State {
	s := &decisionv1.State{}
	if err := s.UnmarshalVT(b.own); err != nil {
		b.t.Fatalf("decode state: %v", err)
	}
	return s
}

func kindOf(t testing.TB, raw []byte) string {
	t.Helper()
	f := &decisionv1.Fact{}
	if err := f.UnmarshalVT(raw); err != nil {
		t.Fatalf("decode fact: %v", err)
	}
	m := f.ProtoReflect()
	return string(m.WhichOneof(m.Descriptor().Oneofs().Get(0)).Name())
}
