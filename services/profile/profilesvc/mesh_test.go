package profilesvc

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/stage"
)

// fataler is what *testing.T and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// mesh is the fold over partitions in memory with mailboxes that are emptied after every event.
type mesh struct {
	t      fataler
	fold   *fold
	hasher identity.Hasher
	rows   []map[string][]byte
	sets   []map[string]map[string]bool
	lists  []map[string][][]byte
	facts  map[string][]*profilev1.Fact
	boxes  [][]stage.Addressed
	others []stage.Addressed // for other stages
	held   bool              // letters wait
	clock  func(e *eventv1.Event) time.Time
	marks  []string // keys of identifier cells with facts: there must be none
}

type book struct{ rules *profile.Rules }

func (b book) At(_, _ string) (*profile.Rules, bool) { return b.rules, true }

func testHasher(partitions int) identity.Hasher {
	return identity.NewHasher([]byte("a secret of the tests, 32 bytes..."), partitions)
}

func newMesh(t fataler, partitions int) *mesh {
	h := testHasher(partitions)
	m := &mesh{
		t: t, hasher: h, fold: &fold{hasher: h, rules: book{testRules(t, h)}}, facts: map[string][]*profilev1.Fact{},
		boxes: make([][]stage.Addressed, partitions),
		clock: func(e *eventv1.Event) time.Time { return e.GetAt().AsTime() },
	}
	for range partitions {
		m.rows = append(m.rows, map[string][]byte{})
		m.sets = append(m.sets, map[string]map[string]bool{})
		m.lists = append(m.lists, map[string][][]byte{})
	}
	return m
}

// testRules have a computed trait of each way that does not depend on the order of equal times.
func testRules(t fataler, h identity.Hasher) *profile.Rules {
	env, err := expr.NewEnv(expr.Schema{Events: map[string]map[string]expr.Type{"order_placed": {"total": expr.Int}}})
	if err != nil {
		t.Fatal(err)
	}
	of := &definitionv1.Aggregate{Event: "order_placed"}
	total := &definitionv1.Aggregate{Event: "order_placed", Value: "event.total"}
	var rules []*profile.TraitRule
	for _, d := range []struct {
		name string
		spec *definitionv1.TraitDef
	}{
		{"first_order", &definitionv1.TraitDef{Type: "timestamp", Compute: &definitionv1.TraitDef_First{First: of}}},
		{"last_order", &definitionv1.TraitDef{Type: "timestamp", Compute: &definitionv1.TraitDef_Last{Last: of}}},
		{"orders", &definitionv1.TraitDef{Type: "int", Compute: &definitionv1.TraitDef_Count{Count: of}}},
		{"spent", &definitionv1.TraitDef{Type: "int", Compute: &definitionv1.TraitDef_Sum{Sum: total}}},
	} {
		r, problems := profile.CompileTrait(d.name, d.spec, env)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		rules = append(rules, r)
	}
	types := map[string]profile.EventType{"Order Placed": {Name: "order_placed", Freshness: 2 * time.Hour}}
	return profile.NewRules(h, event.DefaultKinds(), types, rules)
}

// view implements stage.Rows.
type view struct {
	m *mesh
	p int
	n stage.Needs
}

func (v view) Own(key string) []byte {
	if !slices.Contains(v.n.Rows, key) {
		v.m.t.Fatalf("row %s was read and not asked for", key)
	}
	return v.m.rows[v.p][key]
}

func (v view) Has(set, value string) bool {
	if !slices.Contains(v.n.Members, stage.Member{Set: set, Value: value}) {
		v.m.t.Fatalf("set %s was read and not asked for", set)
	}
	return v.m.sets[v.p][set][value]
}

func (v view) Foreign(string, string) ([]byte, bool) { return nil, false }

// publish stores an event at its home and, unless letters are held, empties the mailboxes.
func (m *mesh) publish(events ...*eventv1.Event) {
	m.t.Helper()
	for _, e := range events {
		if err := m.lane(e, stage.FromLane, ""); err != nil {
			m.t.Fatalf("event %s: %v", e.GetId(), err)
		}
		if !m.held {
			m.settle()
		}
	}
}

func (m *mesh) lane(e *eventv1.Event, source stage.Source, deadLetter string) error {
	m.t.Helper()
	home, err := profile.HomeID(m.hasher, e)
	if err != nil {
		return err
	}
	return m.step(m.hasher.Partition(home), laneInput(m.t, e, source, deadLetter), m.clock(e))
}

func laneInput(t fataler, e *eventv1.Event, source stage.Source, deadLetter string) stage.Input {
	payload, err := e.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	in := stage.Input{Source: source, Name: "evt.live", Redriven: "evt.live", ID: deadLetter, Payload: payload, At: e.GetAt().AsTime()}
	if source != stage.FromRedrive { // what comes back does not arrive again
		in.ReceivedAt, in.StoredAt = e.GetReceivedAt().AsTime(), e.GetReceivedAt().AsTime()
	}
	return in
}

func (m *mesh) step(p int, in stage.Input, now time.Time) error {
	m.t.Helper()
	n, err := m.fold.Needs(in, now)
	if err != nil {
		return err
	}
	out, err := m.fold.Decide(in, view{m, p, n}, stage.Env{Now: now, Partition: p})
	if err != nil {
		return err
	}
	m.take(p, out)
	return nil
}

func (m *mesh) take(p int, out stage.Outcome) {
	m.t.Helper()
	for _, c := range out.Cells {
		_, space, _, err := identity.ParseKey(c.Key)
		if err != nil {
			m.t.Fatal(err)
		}
		if space == "i" && len(c.Facts) > 0 {
			m.marks = append(m.marks, c.Key)
		}
		if c.State != nil {
			m.rows[p][c.Key] = c.State
		}
		for _, raw := range c.Facts {
			f := &profilev1.Fact{}
			if err := f.UnmarshalVT(raw); err != nil {
				m.t.Fatal(err)
			}
			m.facts[c.Key] = append(m.facts[c.Key], f)
		}
		for _, d := range c.Deltas {
			m.delta(p, d)
		}
	}
	for _, a := range out.Addressed {
		if a.Stage != stageName {
			m.others = append(m.others, a)
			continue
		}
		m.boxes[a.Partition] = append(m.boxes[a.Partition], a)
	}
}

func (m *mesh) delta(p int, d *stagev1.Delta) {
	switch d.GetKind() {
	case stagev1.DeltaKind_DELTA_KIND_ADD:
		if m.sets[p][d.GetName()] == nil {
			m.sets[p][d.GetName()] = map[string]bool{}
		}
		m.sets[p][d.GetName()][string(d.GetValue())] = true
	case stagev1.DeltaKind_DELTA_KIND_DROP:
		delete(m.sets[p], d.GetName())
	case stagev1.DeltaKind_DELTA_KIND_APPEND:
		m.lists[p][d.GetName()] = append(m.lists[p][d.GetName()], d.GetValue())
	case stagev1.DeltaKind_DELTA_KIND_TRIM:
		l := m.lists[p][d.GetName()]
		m.lists[p][d.GetName()] = l[max(0, len(l)-int(d.GetKeep())):]
	case stagev1.DeltaKind_DELTA_KIND_UNSPECIFIED:
		m.t.Fatalf("delta without kind on %s", d.GetName())
	}
}

// settle delivers letters until there are none: in rounds, each in the order of the rows that they come from, as
// under the replay clock.
func (m *mesh) settle() {
	m.t.Helper()
	for rounds := 0; ; rounds++ {
		if rounds > 16 {
			m.t.Fatal("letters go round in circles")
		}
		moved := false
		round := m.boxes
		m.boxes = make([][]stage.Addressed, len(round))
		for p, box := range round {
			slices.SortStableFunc(box, func(a, b stage.Addressed) int { return strings.Compare(a.From, b.From) })
			for _, a := range box {
				moved = true
				if err := m.step(p, stage.Input{Source: stage.FromBox, Name: "box.profile", Payload: a.Payload}, letterTime(m, a)); err != nil {
					m.t.Fatalf("letter: %v", err)
				}
			}
		}
		if !moved {
			return
		}
	}
}

// letterTime is the instant of the letter's cause, as under the replay clock.
func letterTime(m *mesh, a stage.Addressed) time.Time {
	l := &profilev1.Letter{}
	if err := l.UnmarshalVT(a.Payload); err != nil {
		m.t.Fatal(err)
	}
	if e := l.GetForwarded().GetEvent(); e != nil {
		return m.clock(e)
	}
	for _, at := range []*timestamppb.Timestamp{l.GetClaim().GetAt(), l.GetAccount().GetAt(), l.GetLinked().GetAt(), l.GetAliasAsked().GetAt(), l.GetAliasAnswered().GetAsked().GetAt()} {
		if at != nil {
			return at.AsTime()
		}
	}
	return start
}

// owner follows an identifier to its profile; nil if nobody has it.
func (m *mesh) owner(id *eventv1.Identifier) *profilev1.Profile {
	m.t.Helper()
	h := m.hasher.ID(tenant, id)
	row := &profilev1.IdentifierRow{}
	if err := row.UnmarshalVT(m.rows[m.hasher.Partition(h)][identity.IdentifierKey(tenant, h)]); err != nil {
		m.t.Fatal(err)
	}
	if len(row.GetProfileId()) == 0 {
		return nil
	}
	return m.profile(row.GetProfileId())
}

func (m *mesh) profile(id []byte) *profilev1.Profile {
	m.t.Helper()
	raw := m.rows[m.hasher.Partition(id)][identity.CustomerKey(tenant, id)]
	if raw == nil {
		return nil
	}
	p := &profilev1.Profile{}
	if err := p.UnmarshalVT(raw); err != nil {
		m.t.Fatal(err)
	}
	return p
}

// made is the profile that an identifier made itself.
func (m *mesh) made(id *eventv1.Identifier) *profilev1.Profile {
	return m.profile(m.hasher.ID(tenant, id))
}

// applied lists the ids of the events in effect on a profile, in order.
func (m *mesh) applied(p *profilev1.Profile) []string {
	var out []string
	for _, f := range m.facts[identity.CustomerKey(tenant, p.GetId())] {
		if e := f.GetEventApplied(); e != nil {
			out = append(out, e.GetEvent().GetId())
		}
	}
	return out
}

// lines tells the timeline of the profile that an identifier made, with the codes of its reasons.
func (m *mesh) lines(id *eventv1.Identifier) []string {
	m.t.Helper()
	home := m.hasher.Home(tenant, id)
	var out []string
	for _, raw := range m.lists[home][timelineOf(identity.CustomerKey(tenant, m.hasher.ID(tenant, id)))] {
		e := &profilev1.TimelineEntry{}
		if err := e.UnmarshalVT(raw); err != nil {
			m.t.Fatal(err)
		}
		text := e.GetWhat()
		for _, r := range e.GetReasons() {
			text += " " + strings.TrimPrefix(r.GetCode().String(), "CODE_")
		}
		out = append(out, text)
	}
	return out
}

// kinds lists the names of the facts of a profile, in order.
func (m *mesh) kinds(p *profilev1.Profile) []string {
	var out []string
	for _, f := range m.facts[identity.CustomerKey(tenant, p.GetId())] {
		fd := f.ProtoReflect().WhichOneof(f.ProtoReflect().Descriptor().Oneofs().Get(0))
		out = append(out, string(fd.Name()))
	}
	return out
}

const tenant = "default"

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func user(v string) *eventv1.Identifier  { return &eventv1.Identifier{Kind: "user_id", Value: v} }
func anon(v string) *eventv1.Identifier  { return &eventv1.Identifier{Kind: "anonymous_id", Value: v} }
func email(v string) *eventv1.Identifier { return &eventv1.Identifier{Kind: "email", Value: v} }
func direct(id []byte) *eventv1.Identifier {
	return &eventv1.Identifier{Kind: event.KindProfile, Value: hexOf(id)}
}

func happened(id string, kind eventv1.Kind, typ string, minute int, ids ...*eventv1.Identifier) *eventv1.Event {
	at := timestamppb.New(start.Add(time.Duration(minute) * time.Minute))
	return &eventv1.Event{Id: id, Tenant: tenant, Kind: kind, Type: typ, At: at, ReceivedAt: at, Identifiers: event.Order(ids)}
}

func track(id string, minute int, ids ...*eventv1.Identifier) *eventv1.Event {
	e := happened(id, eventv1.Kind_KIND_TRACK, "Order Placed", minute, ids...)
	e.Properties = []*eventv1.Property{{Name: "total", Value: event.Integer(int64(10 + minute))}}
	return e
}

func identify(id string, minute int, ids ...*eventv1.Identifier) *eventv1.Event {
	return happened(id, eventv1.Kind_KIND_IDENTIFY, "identify", minute, ids...)
}
