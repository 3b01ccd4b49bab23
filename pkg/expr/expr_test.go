package expr_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/expr"
)

func schema() expr.Schema {
	return expr.Schema{
		Events: map[string]map[string]expr.Type{
			"order_placed": {
				"total": expr.Double, "currency": expr.String, "items": expr.Int, "gift": expr.Bool,
				"placed": expr.Timestamp, "tags": expr.Strings, "ship-to": expr.String,
			},
			"ping": {},
		},
		Traits: map[string]expr.Type{"orders": expr.Int, "country": expr.String, "last_order": expr.Timestamp},
	}
}

func env(t testing.TB) *expr.Env {
	t.Helper()
	e, err := expr.NewEnv(schema())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func text(s string) *eventv1.Value {
	return &eventv1.Value{Kind: &eventv1.Value_Text{Text: s}}
}

func integer(i int64) *eventv1.Value {
	return &eventv1.Value{Kind: &eventv1.Value_Integer{Integer: i}}
}

func number(f float64) *eventv1.Value {
	return &eventv1.Value{Kind: &eventv1.Value_Number{Number: f}}
}

func flag(b bool) *eventv1.Value { return &eventv1.Value{Kind: &eventv1.Value_Flag{Flag: b}} }

func list(vs ...*eventv1.Value) *eventv1.Value {
	return &eventv1.Value{Kind: &eventv1.Value_List{List: &eventv1.List{Values: vs}}}
}

func object(ps ...*eventv1.Property) *eventv1.Value {
	return &eventv1.Value{Kind: &eventv1.Value_Object{Object: &eventv1.Object{Properties: ps}}}
}

func prop(name string, v *eventv1.Value) *eventv1.Property {
	return &eventv1.Property{Name: name, Value: v}
}

func input() expr.Input {
	return expr.Input{
		EventType: "order_placed", EventID: "e-1", EventAt: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Properties: []*eventv1.Property{
			prop("total", integer(42)), prop("currency", text("EUR")), prop("items", number(3)),
			prop("placed", text("2026-03-01T11:00:00+01:00")), prop("tags", list(text("a"), text("b"))),
			prop("ship-to", text("home")), prop("address", object(prop("city", text("Oslo")))),
			prop("broken", &eventv1.Value{}), prop("lines", list(object(prop("sku", text("x")), prop("qty", integer(2))))),
		},
		Traits: []*profilev1.Trait{
			{Name: "country", Value: text("NO")},
			{Name: "orders", Value: integer(7)},
		},
	}
}

var (
	typedScope = expr.Scope{Event: "order_placed", Traits: true}
	anyScope   = expr.Scope{Event: expr.AnyEvent}
)

func TestBool(t *testing.T) {
	for _, tc := range []struct {
		src   string
		scope expr.Scope
		want  bool
	}{
		{"event.total > 41", typedScope, true},
		{"event.total == 42", typedScope, true},
		{"event.items > 2.5", typedScope, true},
		{"event.items * event.total == 126 && 2 * (1 + event.total / 2) == (true ? 44 : 1.5)", typedScope, true},
		{"event.items == 3.0 && event.total != 43", typedScope, true},
		{"event.items == 3", typedScope, true},
		{"event.currency == 'EUR' && traits.country in ['NO', 'SE']", typedScope, true},
		{"has(event.total) && !has(event.gift) && !event.gift", typedScope, true},
		{"has(traits.orders) && !has(traits.last_order)", typedScope, true},
		{"traits.last_order == timestamp('1970-01-01T00:00:00Z')", typedScope, true},
		{"event.placed < timestamp('2026-03-01T10:00:01Z')", typedScope, true},
		{"event.placed.getHours() == 10", typedScope, true},
		{"event.at > event.placed && event.id == 'e-1' && event.type == 'order_placed'", typedScope, true},
		{"'b' in event.tags && event.tags.exists(t, t.startsWith('a'))", typedScope, true},
		{"event.`ship-to` == 'home'", typedScope, true},
		{"math.greatest(event.items, 5) == 5", typedScope, true},
		{"traits.orders >= 7", expr.Scope{Traits: true}, true},
		{"event.total > 41 && event.nothing == null", anyScope, true},
		{"event['total'] == 42.0", anyScope, true},
		{"has(event.total) && !has(event.nothing) && !has(event.broken)", anyScope, true},
		{"event.address.city == 'Oslo'", anyScope, true},
		{"event.address.street == null", anyScope, true},
		{"event.lines[0].qty == 2 && event.lines.exists(l, l.sku == 'x')", anyScope, true},
		{"'total' in event && !('nothing' in event) && size(event.tags) == 2", anyScope, true},
		{"event.id == 'e-1' && event.type == 'order_placed'", anyScope, true},
		{"event.whatever == 'x'", expr.Scope{Event: "never_declared"}, false},
		{"1 == 2", expr.Scope{}, false},
	} {
		t.Run(tc.src, func(t *testing.T) {
			p, err := env(t).Compile(tc.src, tc.scope, expr.WantBool)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Bool(input())
			if err != nil || got != tc.want {
				t.Errorf("got %v, %v; want %v", got, err, tc.want)
			}
		})
	}
}

func TestCompileErrors(t *testing.T) {
	long := strings.Repeat("1 + ", 1100) + "1 > 0"
	loop := "event.tags.all(a, event.tags.all(b, a + b == b + a))"
	for _, tc := range []struct {
		src   string
		scope expr.Scope
		w     expr.Want
		want  string
	}{
		{"event.totl > 1", typedScope, expr.WantBool, "event.totl: no such property; did you mean total? order_placed has: currency, gift, items, placed, ship-to, tags, total"},
		{"has(event.totl)", typedScope, expr.WantBool, "event.totl: no such property; did you mean total? order_placed has: "},
		{"event.x == 1", expr.Scope{Event: "ping"}, expr.WantBool, "event.x: no such property; ping declares none"},
		{"traits.order > 1", typedScope, expr.WantBool, "traits.order: no such trait; did you mean orders? the workspace has: country, last_order, orders"},
		{"account.name == 'x'", typedScope, expr.WantBool, "account: expressions may not read account state yet"},
		{"has(account.name)", typedScope, expr.WantBool, "account: expressions may not read account state yet"},
		{"role.rep.x", typedScope, expr.WantBool, "role: expressions may not read the state of roles yet"},
		{"event.placed < now", typedScope, expr.WantBool, "now: expressions may not ask for the time"},
		{"event.placed < now()", typedScope, expr.WantBool, "now: expressions may not ask for the time"},
		{"event.total > 1", expr.Scope{Traits: true}, expr.WantBool, "event: there is no event here"},
		{"traits.orders > 1", anyScope, expr.WantBool, "traits: not known here"},
		{"foo > 1", typedScope, expr.WantBool, "foo: no such name or function (expressions read event and traits; text stands in quotes: 'foo')"},
		{"foo(1)", anyScope, expr.WantBool, "foo: no such name or function (expressions read event)"},
		{"event.total", typedScope, expr.WantBool, "the result is a double, and true or false is wanted"},
		{"event.currency", typedScope, expr.WantNumber, "the result is a string, and a number is wanted"},
		{"event", typedScope, expr.WantValue, "the result is the event order_placed as a whole, and a value is wanted"},
		{"event.gift", typedScope, expr.WantString, "the result is a bool, and text is wanted"},
		{"event.currency * 2 > 1", typedScope, expr.WantBool, "found no matching overload for '*' applied to '(string, int)'"},
		{"event.total >", typedScope, expr.WantBool, "syntax error at character "},
		{"", typedScope, expr.WantBool, "the expression is empty"},
		{"'\xff'", typedScope, expr.WantBool, "not valid UTF-8"},
		{long, typedScope, expr.WantBool, "too long"},
		{strings.Repeat("(", 30) + "1" + strings.Repeat(")", 30), typedScope, expr.WantNumber, "too deep: brackets nest 30 deep, and 24 is allowed"},
		{loop + " && " + strings.Repeat(loop+" && ", 20) + "true", typedScope, expr.WantBool, "too expensive"},
		{"event.tags.all(a, event.tags.all(b, event.tags.all(c, a == b && b == c)))", typedScope, expr.WantBool, "comprehension exceeds nesting limit"},
		{"event.currency.matches('(a{1,900}){1,900}')", typedScope, expr.WantBool, "invalid matches"},
		{"event.currency.matches('(')", typedScope, expr.WantBool, "invalid matches"},
		{"google.protobuf.Duration{seconds: 1} == duration('1s')", typedScope, expr.WantBool, "objects cannot be made"},
	} {
		t.Run(tc.src[:min(len(tc.src), 60)], func(t *testing.T) {
			_, err := env(t).Compile(tc.src, tc.scope, tc.w)
			if err == nil {
				t.Fatalf("compiled; want an error with %q", tc.want)
			}
			t.Log(err)
			if !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q; want one line with %q", err, tc.want)
			}
		})
	}
}

func TestMissingReadsAsZero(t *testing.T) {
	p, err := env(t).Compile("event.total == 0.0 && event.currency == '' && event.items == 0 && !event.gift && size(event.tags) == 0 && event.placed == timestamp(0) && traits.orders == 0", typedScope, expr.WantBool)
	if err != nil {
		t.Fatal(err)
	}
	misfits := expr.Input{Properties: []*eventv1.Property{
		prop("total", text("19,99")), prop("currency", list(text("EUR"))), prop("items", number(1.5)), prop("gift", text("yes")),
		prop("tags", list(text("a"), list(integer(1)))), prop("placed", text("yesterday")),
	}}
	for name, in := range map[string]expr.Input{"absent": {}, "of the wrong type": misfits} {
		if ok, err := p.Bool(in); err != nil || !ok {
			t.Errorf("properties %s: got %v, %v; want true", name, ok, err)
		}
	}
}

func TestTextsAreReadAsTheirDeclaredType(t *testing.T) {
	p, err := env(t).Compile("event.total == 19.99 && event.currency == '978' && event.items == 3 && event.gift && event.tags == ['a', '1'] && event.placed == timestamp('2026-11-21T08:00:00Z')", typedScope, expr.WantBool)
	if err != nil {
		t.Fatal(err)
	}
	in := expr.Input{Properties: []*eventv1.Property{
		prop("total", text("19.99")), prop("currency", integer(978)), prop("items", text("3")), prop("gift", text("true")),
		prop("tags", list(text("a"), integer(1))), prop("placed", integer(1795248000)),
	}}
	if ok, err := p.Bool(in); err != nil || !ok {
		t.Errorf("got %v, %v; want true", ok, err)
	}
}

func TestNumberValueString(t *testing.T) {
	e := env(t)
	compile := func(src string, s expr.Scope, w expr.Want) *expr.Program {
		t.Helper()
		p, err := e.Compile(src, s, w)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if got, err := compile("traits.orders * 2", typedScope, expr.WantNumber).Number(input()); err != nil || got != 14 {
		t.Errorf("number: got %v, %v; want 14", got, err)
	}
	if _, err := compile("1.0 / event.total", typedScope, expr.WantNumber).Number(expr.Input{}); err == nil {
		t.Error("an infinite number has no error")
	}
	if got, err := compile("event.items", typedScope, expr.WantString).String(input()); err != nil || got != "3" {
		t.Errorf("string: got %q, %v; want 3", got, err)
	}
	if _, err := compile("event.total > 'a'", anyScope, expr.WantBool).Bool(input()); err == nil {
		t.Error("a comparison of different types has no error")
	}
	for src, want := range map[string]*eventv1.Value{
		"event.total":   integer(42),
		"event.at":      text("2026-03-01T12:00:00Z"),
		"event.tags":    list(text("a"), text("b")),
		"event.address": object(prop("city", text("Oslo"))),
		"event.nothing": {},
		"event.x == 1":  flag(false),
	} {
		got, err := compile(src, anyScope, expr.WantValue).Value(input())
		if err != nil {
			t.Errorf("%s: %v", src, err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", src, diff)
		}
	}
}

func TestCostIsBoundedAtRunTime(t *testing.T) {
	p, err := env(t).Compile("event.list.all(a, event.list.all(b, a + b > 0))", anyScope, expr.WantBool)
	if err != nil {
		t.Fatal(err)
	}
	many := make([]*eventv1.Value, 2000)
	for i := range many {
		many[i] = integer(1)
	}
	_, err = p.Bool(expr.Input{Properties: []*eventv1.Property{prop("list", list(many...))}})
	if err == nil || !strings.Contains(err.Error(), "cost") {
		t.Errorf("got %v; want the cost limit", err)
	}
}

func FuzzCompile(f *testing.F) {
	for _, src := range []string{
		"event.total > 1 && traits.orders < 3", "event.tags.exists(t, t.matches('^a+$'))", "[1,2,3].map(x, x * 2)[0]",
		"has(event.x) ? event.x : {'a': 1}", "((((", "now()", "a.b.c.d", "'a' + 'b'", "event.`x y`",
	} {
		f.Add(src)
	}
	e := env(f)
	f.Fuzz(func(t *testing.T, src string) {
		for _, scope := range []expr.Scope{typedScope, anyScope} {
			p, err := e.Compile(src, scope, expr.WantValue)
			if err != nil {
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("%q: the error has more than one line: %v", src, err)
				}
				continue
			}
			first, err1 := p.Value(input())
			again, err2 := p.Value(input())
			if (err1 == nil) != (err2 == nil) || !cmp.Equal(first, again, protocmp.Transform()) {
				t.Errorf("%q: two evaluations differ: %v %v, %v %v", src, first, err1, again, err2)
			}
		}
	})
}

func BenchmarkBool(b *testing.B) {
	p, err := env(b).Compile("event.total > 41 && event.currency == 'EUR' && traits.orders >= 7", typedScope, expr.WantBool)
	if err != nil {
		b.Fatal(err)
	}
	in := input()
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := p.Bool(in); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}
