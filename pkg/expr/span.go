package expr

import (
	"math"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Span is where results of a number lie: from Low to High, both included. What is read from events and traits may be
// any number.
type Span struct{ Low, High float64 }

// Spans returns where the results of an expression that is a number lie, one span for each way through its conditions:
// traits.vip ? 2.0 : 0.5 has two. A span may be wider than what can really result, never narrower. Nothing for a nil
// program.
func (p *Program) Spans() []Span {
	if p == nil {
		return nil
	}
	return p.spans
}

func anywhere() Span { return Span{math.Inf(-1), math.Inf(1)} }

// spansOf takes the ways through the conditions apart that stand outside of all else.
func spansOf(e celast.Expr) []Span {
	if e.Kind() == celast.CallKind && e.AsCall().FunctionName() == operators.Conditional {
		args := e.AsCall().Args()
		return append(spansOf(args[1]), spansOf(args[2])...)
	}
	return []Span{spanOf(e)}
}

func spanOf(e celast.Expr) Span {
	switch e.Kind() {
	case celast.LiteralKind:
		return spanOfLiteral(e.AsLiteral())
	case celast.CallKind:
		return spanOfCall(e.AsCall())
	default:
		return anywhere()
	}
}

func spanOfLiteral(v ref.Val) Span {
	switch v := v.(type) {
	case types.Int:
		return Span{float64(v), float64(v)}
	case types.Uint:
		return Span{float64(v), float64(v)}
	case types.Double:
		return Span{float64(v), float64(v)}
	}
	return anywhere()
}

func spanOfCall(call celast.CallExpr) Span {
	var args []Span
	for _, a := range call.Args() {
		args = append(args, spanOf(a))
	}
	switch name := call.FunctionName(); {
	case name == operators.Conditional:
		return hull(args[1], args[2])
	case name == operators.Negate:
		return Span{-args[0].High, -args[0].Low}
	case name == "double" && len(args) == 1:
		return args[0]
	case len(args) != 2:
		return anywhere()
	case name == operators.Add:
		return Span{args[0].Low + args[1].Low, args[0].High + args[1].High}
	case name == operators.Subtract:
		return Span{args[0].Low - args[1].High, args[0].High - args[1].Low}
	case name == operators.Multiply:
		return product(args[0], args[1])
	case name == operators.Divide && args[1].Low == args[1].High && args[1].Low != 0 && fractional(call):
		return product(args[0], Span{1 / args[1].Low, 1 / args[1].Low})
	}
	return anywhere()
}

// fractional reports whether one side of a division is surely no whole number's type, so that nothing is rounded.
func fractional(call celast.CallExpr) bool {
	for _, a := range call.Args() {
		switch a.Kind() {
		case celast.LiteralKind:
			if _, ok := a.AsLiteral().(types.Double); ok {
				return true
			}
		case celast.CallKind:
			if a.AsCall().FunctionName() == "double" {
				return true
			}
		default:
		}
	}
	return false
}

func hull(a, b Span) Span { return Span{min(a.Low, b.Low), max(a.High, b.High)} }

func product(a, b Span) Span {
	out := Span{math.Inf(1), math.Inf(-1)}
	for _, x := range []float64{a.Low, a.High} {
		for _, y := range []float64{b.Low, b.High} {
			p := x * y
			if x == 0 || y == 0 {
				p = 0 // also of what has no bound
			}
			out = hull(out, Span{p, p})
		}
	}
	return out
}
