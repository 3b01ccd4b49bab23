package expr

import (
	"slices"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// eventReads finds event.name and event["name"]; event in any other place may read everything.
func eventReads(a *celast.AST) Reads {
	var out Reads
	named := map[int64]bool{} // where the word event has a name behind it
	visit(a, func(e celast.Expr) {
		switch operand, name := member(e); {
		case operand != nil && isEvent(operand):
			named[operand.ID()] = true
			if !slices.Contains(out.Properties, name) {
				out.Properties = append(out.Properties, name)
			}
		case isEvent(e) && !named[e.ID()]:
			out.All = true
		}
	})
	return out
}

func isEvent(e celast.Expr) bool {
	return e.Kind() == celast.IdentKind && (e.AsIdent() == "event" || e.AsIdent() == ".event")
}

// member takes x.name and x["name"] apart; the operand is nil for anything else.
func member(e celast.Expr) (operand celast.Expr, name string) {
	if e.Kind() == celast.SelectKind {
		return e.AsSelect().Operand(), e.AsSelect().FieldName()
	}
	if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != operators.Index {
		return nil, ""
	}
	args := e.AsCall().Args()
	if len(args) != 2 || args[1].Kind() != celast.LiteralKind {
		return nil, ""
	}
	name, ok := args[1].AsLiteral().Value().(string)
	if !ok {
		return nil, ""
	}
	return args[0], name
}
