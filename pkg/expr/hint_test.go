package expr_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"refrain.dev/pkg/expr"
)

// What people bring from other languages is answered with what to write.
func TestSyntaxErrorsSayWhatToWrite(t *testing.T) {
	env, err := expr.NewEnv(expr.Schema{Events: map[string]map[string]expr.Type{"order": {"total": expr.Double, "paid": expr.Bool, "note": expr.String}}})
	if err != nil {
		t.Fatal(err)
	}
	for src, want := range map[string]string{
		"event.total > 1 and event.paid":             "syntax error at character 17: write && for and",
		"event.paid OR event.total > 1":              "syntax error at character 12: write || for OR",
		"not event.paid":                             "syntax error at character 5: write ! for not",
		"not(event.paid)":                            "not: no such name or function (write ! for not)",
		"event.total = 1.0":                          "syntax error at character 13: write == for =",
		"event.note === 'x'":                         "syntax error at character 14: write == for ===",
		"event.total <> 1.0":                         "write != for <>",
		"event.total => 1.0":                         "write >= for =>",
		"event.paid & event.paid":                    "write && for &",
		"event.paid | event.paid":                    "write || for |",
		"event.note = 'a' and not event.paid":        "write == for =, && for and, ! for not",
		"event.note == 'rock and roll = x' and true": "write && for and",
		"event.note == 'x":                           "the text that begins with ' has no end: close it with '",
		"event.note == “x”":                          "write ' or \" for “",
		"event.note not in ['a']":                    "write !(a in b) for a not in b",
		"event.note in ('a', 'b')":                   "write in [a, b] for in (a, b)",
		"event.note like 'x%'":                       "a.contains('b')",
		"event.note is null":                         "has(event.name)",
		"event.total == null":                        "has(event.name) tells whether a value is there",
		"event.paid == True":                         "write true for True",
		"if event.paid then 1 else 2":                "write condition ? a : b",
		"{{ event.paid }}":                           "write the expression without {{ and }}",
		"event.paid &&":                              "the expression ends too early",
		"(event.paid":                                "')' is missing at the end",
		"event.paid)":                                "')' is not expected here",
		"event.note == x":                            "x: no such name or function (expressions read event; text stands in quotes: 'x')",
		"event.total > $5":                           "'$' is not understood",
	} {
		_, err := env.Compile(src, expr.Scope{Event: "order"}, expr.WantBool)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %s", src, err, want)
		}
	}
	// A property may be called like a word of another language.
	if _, err := env.Compile("event.is.not.and == 1", expr.Scope{Event: expr.AnyEvent}, expr.WantBool); err != nil {
		t.Errorf("got %v; want none", err)
	}
}

func TestSpansHoldEveryResult(t *testing.T) {
	env, err := expr.NewEnv(expr.Schema{Traits: map[string]expr.Type{"orders": expr.Int, "vip": expr.Bool}})
	if err != nil {
		t.Fatal(err)
	}
	all := expr.Span{Low: math.Inf(-1), High: math.Inf(1)}
	one := func(n float64) []expr.Span { return []expr.Span{{Low: n, High: n}} }
	for src, want := range map[string][]expr.Span{
		"1.5":                            one(1.5),
		"-1":                             one(-1),
		"2 * 3 - 1":                      one(5),
		"3.0 / 4.0":                      one(0.75),
		"(1 + 2) / 4":                    {all}, // rounded
		"traits.vip ? 2.0 : 0.5":         {{Low: 2, High: 2}, {Low: 0.5, High: 0.5}},
		"1.0 + (traits.vip ? 2.0 : 0.5)": {{Low: 1.5, High: 3}},
		"traits.orders":                  {all},
		"0.0 * double(traits.orders)":    one(0),
		"1.0 + double(traits.orders)":    {all},
		"math.least(1.0, 2.0)":           {all},
	} {
		p, err := env.Compile(src, expr.Scope{Traits: true}, expr.WantNumber)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if diff := cmp.Diff(want, p.Spans()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", src, diff)
		}
	}
	if (*expr.Program)(nil).Spans() != nil {
		t.Error("a nil program has spans")
	}
}
