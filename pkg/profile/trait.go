package profile

import (
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/fault"
)

// Compute is how a trait comes about.
type Compute string

// The ways.
const (
	// Published: as identify says it, the latest wins.
	Published Compute = "published"
	// Latest: the latest value of an expression, by event time.
	Latest Compute = "latest"
	// Count: how many events.
	Count Compute = "count"
	// Sum: the sum of an expression.
	Sum Compute = "sum"
	// First: the value or time of the first event, by event time.
	First Compute = "first"
	// Last: the value or time of the last event, by event time.
	Last Compute = "last"
)

// TraitRule is a compiled trait definition. It is immutable and safe for concurrent use.
type TraitRule struct {
	// Name of the trait.
	Name string
	// Type of its values.
	Type expr.Type
	// Compute says how it comes about.
	Compute Compute
	// Event is the name of the event type it is computed from; empty with Published.
	Event string

	where *expr.Program // nil: every event counts
	value *expr.Program // nil: the event's time
}

// CompileTrait checks the definition of a trait and makes it ready. It returns all problems, with paths
// inside the document; the rule is nil if there are any.
func CompileTrait(name string, spec *definitionv1.TraitDef, env *expr.Env) (*TraitRule, []definition.Problem) {
	t, ok := expr.ParseType(spec.GetType())
	if !ok || t == expr.Any {
		return nil, []definition.Problem{{
			Path: "spec.type", What: "unknown type " + spec.GetType(),
			Why: "use string, int, double, bool, timestamp or strings",
		}}
	}
	r := &TraitRule{Name: name, Type: t}
	agg := r.choose(spec)
	if agg == nil {
		return r, nil
	}
	c := compiler{rule: r, env: env, path: "spec." + string(r.Compute)}
	c.compile(agg)
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	return r, nil
}

func (r *TraitRule) choose(spec *definitionv1.TraitDef) *definitionv1.Aggregate {
	switch c := spec.GetCompute().(type) {
	case *definitionv1.TraitDef_Latest:
		r.Compute = Latest
		return c.Latest
	case *definitionv1.TraitDef_Count:
		r.Compute = Count
		return c.Count
	case *definitionv1.TraitDef_Sum:
		r.Compute = Sum
		return c.Sum
	case *definitionv1.TraitDef_First:
		r.Compute = First
		return c.First
	case *definitionv1.TraitDef_Last:
		r.Compute = Last
		return c.Last
	}
	r.Compute = Published
	return nil
}

type compiler struct {
	rule     *TraitRule
	env      *expr.Env
	path     string
	problems []definition.Problem
}

func (c *compiler) add(field, what, why string) {
	c.problems = append(c.problems, definition.Problem{Path: c.path + field, What: what, Why: why})
}

func (c *compiler) compile(agg *definitionv1.Aggregate) {
	r := c.rule
	if r.Event = agg.GetEvent(); r.Event == "" {
		c.add(".event", "is missing", "name the event type that the trait is computed from")
		return
	}
	r.where = c.program(".where", agg.GetWhere(), expr.WantBool)
	switch r.Compute {
	case Count:
		c.needType(expr.Int)
		if agg.GetValue() != "" {
			c.add(".value", "has no meaning in a count", "leave it out, or use sum")
		}
		return
	case Sum:
		c.needType(expr.Int, expr.Double)
	case Published, Latest, First, Last:
	}
	if agg.GetValue() != "" {
		r.value = c.program(".value", agg.GetValue(), r.want())
		return
	}
	if r.Compute == First || r.Compute == Last {
		c.needType(expr.Timestamp)
		return
	}
	c.add(".value", "is missing", "say what is kept or summed, such as event.total")
}

func (c *compiler) needType(allowed ...expr.Type) {
	if slices.Contains(allowed, c.rule.Type) {
		return
	}
	what := string(c.rule.Compute)
	if c.rule.Compute == First || c.rule.Compute == Last {
		what += " without value"
	}
	c.problems = append(c.problems, definition.Problem{
		Path: "spec.type", What: what + " cannot have the type " + c.rule.Type.String(), Why: "use " + allowed[len(allowed)-1].String(),
	})
}

func (c *compiler) program(field, src string, want expr.Want) *expr.Program {
	if src == "" {
		return nil
	}
	p, err := c.env.Compile(src, expr.Scope{Event: c.rule.Event}, want)
	if err != nil {
		c.add(field, "the expression does not compile", err.Error())
	}
	return p
}

func (r *TraitRule) want() expr.Want {
	switch r.Type {
	case expr.Int, expr.Double:
		return expr.WantNumber
	case expr.Bool:
		return expr.WantBool
	case expr.String:
		return expr.WantString
	case expr.Timestamp, expr.Strings, expr.Any:
	}
	return expr.WantValue
}

// source is what Trait.source says of a computed trait, so that leaves can be merged without the rule.
func (r *TraitRule) source() string { return traitSource + r.Name + "." + string(r.Compute) }

const (
	traitSource  = "Trait/"
	traitsPrefix = "traits."
)

// Step advances the trait old (nil if there is none yet) by one event of the rule's type and returns the
// new one, or old itself if the event changes nothing. It is not idempotent: the caller sees to it that
// an event comes once. Except for values with one and the same event time, order does not matter. An
// error means that the rule's expressions have no result for this event.
func (r *TraitRule) Step(old *profilev1.Trait, e *eventv1.Event) (*profilev1.Trait, error) {
	next, _, err := r.step(old, e)
	return next, err
}

// step is Step that also returns what the event says if that is no value of the trait's type.
func (r *TraitRule) step(old *profilev1.Trait, e *eventv1.Event) (next *profilev1.Trait, misfit *eventv1.Value, err error) {
	in := expr.Input{EventType: e.GetType(), EventID: e.GetId(), EventAt: e.GetAt().AsTime(), Properties: event.Details(e)}
	if r.where != nil {
		ok, err := r.where.Bool(in)
		if err != nil {
			return nil, nil, fault.New(fault.Invalid, "evaluate where of trait %s: %w", r.Name, err)
		}
		if !ok {
			return old, nil, nil
		}
	}
	v, err := r.observe(in)
	if err != nil {
		return nil, nil, fault.New(fault.Invalid, "evaluate value of trait %s: %w", r.Name, err)
	}
	if event.IsNull(v) {
		return old, nil, nil
	}
	next = &profilev1.Trait{Name: r.Name, ObservedAt: e.GetAt(), Source: r.source(), Count: 1, ClaimedAt: e.GetClaimedAt()}
	if n, ok := v.GetKind().(*eventv1.Value_Number); ok && r.Compute == Sum && r.Type == expr.Int {
		next.Value, next.OutOfRange = whole(n.Number)
	} else if next.Value = expr.Fit(v, r.Type, nil); next.GetValue() == nil {
		return old, v, nil
	}
	return r.fold(old, next), nil, nil
}

// observe returns what the event says, of whatever type.
func (r *TraitRule) observe(in expr.Input) (*eventv1.Value, error) {
	if r.Compute == Count {
		return event.Integer(1), nil
	}
	if r.value == nil {
		return event.Text(in.EventAt.UTC().Format(time.RFC3339Nano)), nil
	}
	return r.value.Value(in)
}

// fold joins what was known with what one event says.
func (r *TraitRule) fold(old, next *profilev1.Trait) *profilev1.Trait {
	if old == nil || old.GetSource() != r.source() {
		return next
	}
	at := next.GetObservedAt()
	switch r.Compute {
	case Count, Sum:
		next.Value, next.OutOfRange = sumOf(old, next)
		next.Count = old.GetCount() + 1
		if next.ObservedAt = later(old.GetObservedAt(), at); next.GetObservedAt() != at {
			next.ClaimedAt = old.GetClaimedAt()
		}
	case First:
		if !at.AsTime().Before(old.GetObservedAt().AsTime()) {
			return old
		}
	case Latest, Last, Published:
		if at.AsTime().Before(old.GetObservedAt().AsTime()) {
			return old
		}
	}
	return next
}

// number reads a whole or other number; 0 for anything else.
func number(v *eventv1.Value) float64 {
	switch k := v.GetKind().(type) {
	case *eventv1.Value_Integer:
		return float64(k.Integer)
	case *eventv1.Value_Number:
		return k.Number
	}
	return 0
}

// sumOf adds two sums. One that is out of range stays at its bound.
func sumOf(a, b *profilev1.Trait) (sum *eventv1.Value, outOfRange bool) {
	switch {
	case a.GetOutOfRange():
		return a.GetValue(), true
	case b.GetOutOfRange():
		return b.GetValue(), true
	}
	return add(a.GetValue(), b.GetValue())
}

// add sums two numbers: whole if both are. A sum that its type cannot hold is the bound that it went beyond.
func add(a, b *eventv1.Value) (sum *eventv1.Value, outOfRange bool) {
	x, ok := a.GetKind().(*eventv1.Value_Integer)
	y, also := b.GetKind().(*eventv1.Value_Integer)
	if ok && also {
		n := x.Integer + y.Integer
		switch {
		case x.Integer > 0 && y.Integer > 0 && n < 0:
			return event.Integer(math.MaxInt64), true
		case x.Integer < 0 && y.Integer < 0 && n >= 0:
			return event.Integer(math.MinInt64), true
		}
		return event.Integer(n), false
	}
	f := number(a) + number(b)
	if math.IsInf(f, 0) {
		return event.Number(math.Copysign(math.MaxFloat64, f)), true
	}
	return event.Number(f), false
}

// whole rounds a number to a whole one, or to the bound that it is beyond.
func whole(f float64) (v *eventv1.Value, outOfRange bool) {
	f = math.Round(f)
	switch {
	case f >= math.MaxInt64:
		return event.Integer(math.MaxInt64), true
	case f < math.MinInt64:
		return event.Integer(math.MinInt64), true
	}
	return event.Integer(int64(f)), false
}

func later(a, b *timestamppb.Timestamp) *timestamppb.Timestamp {
	if a == nil || b.AsTime().After(a.AsTime()) {
		return b
	}
	return a
}

func earlier(a, b *timestamppb.Timestamp) *timestamppb.Timestamp {
	if a == nil || b.AsTime().Before(a.AsTime()) {
		return b
	}
	return a
}
