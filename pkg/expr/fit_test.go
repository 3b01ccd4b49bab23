package expr_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/expr"
)

func TestAValueIsTakenForItsTypeWhereNothingIsLost(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	list := func(items ...*eventv1.Value) *eventv1.Value {
		return &eventv1.Value{Kind: &eventv1.Value_List{List: &eventv1.List{Values: items}}}
	}
	i, n, b, s := event.Integer, event.Number, event.Flag, event.Text
	for _, c := range []struct {
		as   expr.Type
		in   *eventv1.Value
		want *eventv1.Value // nil: it does not fit
	}{
		{expr.Int, i(42), i(42)}, {expr.Int, s("42"), i(42)}, {expr.Int, s(" -42 "), i(-42)}, {expr.Int, s("42.0"), i(42)}, {expr.Int, s("1e3"), i(1000)},
		{expr.Int, n(42), i(42)}, {expr.Int, s("9007199254740993"), i(9007199254740993)}, {expr.Int, s("007"), i(7)},
		{expr.Int, s("42.5"), nil}, {expr.Int, n(42.5), nil}, {expr.Int, s(""), nil}, {expr.Int, s("4 2"), nil}, {expr.Int, s("0x10"), nil}, {expr.Int, s("1_000"), nil},
		{expr.Int, s("NaN"), nil}, {expr.Int, b(true), nil}, {expr.Int, n(1e300), nil}, {expr.Int, s("9223372036854775808"), nil}, {expr.Int, list(), nil},
		{expr.Double, s("19.99"), n(19.99)}, {expr.Double, i(3), n(3)}, {expr.Double, n(0.5), n(0.5)}, {expr.Double, s("1e-3"), n(0.001)}, {expr.Double, s("+1.5"), n(1.5)},
		{expr.Double, s("19,99"), nil}, {expr.Double, s("1,234.50"), nil}, {expr.Double, s("€ 5"), nil}, {expr.Double, s("Inf"), nil}, {expr.Double, s("1e999"), nil}, {expr.Double, s("."), nil},
		{expr.Bool, b(true), b(true)}, {expr.Bool, s("true"), b(true)}, {expr.Bool, s("False"), b(false)}, {expr.Bool, i(1), b(true)}, {expr.Bool, n(0), b(false)}, {expr.Bool, s("0"), b(false)},
		{expr.Bool, s("yes"), nil}, {expr.Bool, i(2), nil}, {expr.Bool, s(""), nil}, {expr.Bool, list(), nil},
		{expr.String, s("x"), s("x")}, {expr.String, i(12345), s("12345")}, {expr.String, n(12345), s("12345")}, {expr.String, n(0.1), s("0.1")}, {expr.String, b(true), s("true")},
		{expr.String, list(), nil}, {expr.String, &eventv1.Value{}, nil}, {expr.String, nil, nil},
		{expr.Timestamp, s("2026-11-21T08:00:00+01:00"), s("2026-11-21T08:00:00+01:00")}, {expr.Timestamp, s("2026-11-21T08:00:00+0000"), s("2026-11-21T08:00:00Z")},
		{expr.Timestamp, s("2026-11-21"), s("2026-11-21T00:00:00+01:00")}, {expr.Timestamp, i(1795248000), s("2026-11-21T08:00:00Z")}, {expr.Timestamp, s("1795248000000"), s("2026-11-21T08:00:00Z")},
		{expr.Timestamp, s("soon"), nil}, {expr.Timestamp, i(7), nil}, {expr.Timestamp, b(true), nil},
		{expr.Strings, list(s("a"), i(1), b(true)), list(s("a"), s("1"), s("true"))}, {expr.Strings, list(), list()}, {expr.Strings, s("a"), nil}, {expr.Strings, list(list()), nil},
	} {
		before := c.in.CloneVT()
		got := expr.Fit(c.in, c.as, zone)
		if diff := cmp.Diff(c.want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%v as %s (-want +got):\n%s", c.in, c.as, diff)
		}
		if !c.in.EqualVT(before) {
			t.Errorf("%v was changed", before)
		}
		if got != nil && expr.Fit(got, c.as, zone) != got {
			t.Errorf("%v as %s does not stay what it is", got, c.as)
		}
	}
}
