package expr

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"refrain.dev/pkg/definition"
)

// checkNames refuses, in words of their own, the names that expressions may not use and the variables
// that are not in scope.
func checkNames(a *celast.AST, s Scope) error {
	var found error
	visit(a, func(e celast.Expr) {
		if found == nil {
			found = refuse(e, s)
		}
	})
	return found
}

func refuse(e celast.Expr, s Scope) error {
	switch e.Kind() {
	case celast.StructKind:
		return fmt.Errorf("%s{…}: objects cannot be made in an expression", e.AsStruct().TypeName())
	case celast.IdentKind:
		return refuseName(strings.TrimPrefix(e.AsIdent(), "."), s)
	case celast.CallKind:
		if call := e.AsCall(); !call.IsMemberFunction() && call.FunctionName() == "now" {
			return refuseName("now", s)
		}
	default:
	}
	return nil
}

func refuseName(name string, s Scope) error {
	switch name {
	case "account":
		return errors.New("account: expressions may not read account state yet")
	case "role":
		return errors.New("role: expressions may not read the state of roles yet")
	case "now":
		return errors.New("now: expressions may not ask for the time (time enters through events, waits and windows)")
	case "event":
		if s.Event == "" {
			return errors.New("event: there is no event here (only traits can be read)")
		}
	case "traits":
		if !s.Traits {
			return errors.New("traits: not known here (only event can be read)")
		}
	}
	return nil
}

// visit calls see for every node of the tree as it was written.
func visit(a *celast.AST, see func(celast.Expr)) {
	celast.PreOrderVisit(a.Expr(), celast.NewExprVisitor(see))
}

// syntaxError says what to write, or at least what is not understood, in words for the author.
func syntaxError(src string, issues *cel.Issues) error {
	first := issues.Errors()[0]
	what := hint(src)
	if what == "" {
		what = misread(strings.TrimPrefix(oneLine(first.Message), "Syntax error: "))
	}
	return fmt.Errorf("syntax error at character %d: %s", max(first.Location.Column()+1, 1), what)
}

// misread turns the parser's message into words.
func misread(message string) string {
	message, _, _ = strings.Cut(message, " expecting ")
	switch {
	case strings.HasSuffix(message, "input '<EOF>'"):
		return "the expression ends too early; something is missing behind it"
	case strings.HasPrefix(message, "missing ") && strings.HasSuffix(message, " at '<EOF>'"):
		return strings.TrimSuffix(strings.TrimPrefix(message, "missing "), " at '<EOF>'") + " is missing at the end"
	}
	for _, p := range []struct{ before, after string }{
		{"mismatched input ", " is not expected here; remove it, or write an operator before it"},
		{"extraneous input ", " is not expected here; remove it, or write an operator before it"},
		{"token recognition error at: ", " is not understood; remove it"},
	} {
		if rest, ok := strings.CutPrefix(message, p.before); ok {
			return strings.TrimSpace(rest) + p.after
		}
	}
	return message
}

// explain turns the checker's first finding into a sentence about events and traits.
func (e *Env) explain(src string, issues *cel.Issues, written *celast.AST, s Scope) error {
	first := issues.Errors()[0]
	if strings.HasPrefix(first.Message, "undefined field") {
		if err := e.noSuchField(written, first.ExprID, s); err != nil {
			return err
		}
	}
	message := oneLine(first.Message)
	message = strings.ReplaceAll(message, eventPrefix, "event ")
	message = strings.ReplaceAll(message, traitsName, "traits")
	if name, ok := strings.CutPrefix(message, "undeclared reference to '"); ok {
		name, _, _ = strings.Cut(name, "'")
		if advice := hint(src); advice != "" {
			return fmt.Errorf("%s: no such name or function (%s)", name, advice)
		}
		if regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\s*\(`).MatchString(src) {
			return fmt.Errorf("%s: no such name or function (expressions read %s)", name, readable(s))
		}
		return fmt.Errorf("%s: no such name or function (expressions read %s; text stands in quotes: '%s')", name, readable(s), name)
	}
	if strings.HasPrefix(message, "found no matching overload") {
		if strings.HasSuffix(message, ", null)'") || strings.Contains(message, "'(null, ") {
			return errors.New(overloadMessage(message) + " (nothing is null here: has(event.name) tells whether a value is there)")
		}
		return errors.New(overloadMessage(message))
	}
	return errors.New(message)
}

// overloadMessage says operators the way they are written: '_*_' becomes '*'.
func overloadMessage(message string) string {
	for _, op := range []string{
		operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo, operators.Equals,
		operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals,
		operators.LogicalAnd, operators.LogicalOr, operators.In, operators.OldIn, operators.Conditional,
		operators.LogicalNot, operators.Negate, operators.Index,
	} {
		if text, ok := operators.FindReverse(op); ok && text != "" {
			message = strings.ReplaceAll(message, "'"+op+"'", "'"+text+"'")
		}
	}
	return message
}

func (e *Env) noSuchField(written *celast.AST, id int64, s Scope) error {
	var found error
	visit(written, func(x celast.Expr) {
		if x.ID() != id || x.Kind() != celast.SelectKind || x.AsSelect().Operand().Kind() != celast.IdentKind {
			return
		}
		field := x.AsSelect().FieldName()
		switch x.AsSelect().Operand().AsIdent() {
		case "event":
			found = missing("event."+field, "property", s.Event, e.schema.Events[s.Event])
		case "traits":
			found = missing("traits."+field, "trait", "the workspace", e.schema.Traits)
		}
	})
	return found
}

func missing(path, noun, owner string, declared map[string]Type) error {
	if len(declared) == 0 {
		return fmt.Errorf("%s: no such %s; %s declares none", path, noun, owner)
	}
	names := slices.Sorted(maps.Keys(declared))
	field := path[strings.Index(path, ".")+1:]
	if best := definition.Nearest(field, names); best != "" {
		owner = fmt.Sprintf("did you mean %s? %s", best, owner)
	}
	const shown = 20
	rest := ""
	if len(names) > shown {
		rest = fmt.Sprintf(" and %d more", len(names)-shown)
		names = names[:shown]
	}
	return fmt.Errorf("%s: no such %s; %s has: %s%s", path, noun, owner, strings.Join(names, ", "), rest)
}

func readable(s Scope) string {
	switch {
	case s.Event != "" && s.Traits:
		return "event and traits"
	case s.Event != "":
		return "event"
	case s.Traits:
		return "traits"
	}
	return "neither event nor traits here"
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// checkResult compares the type of the result with what is wanted. A dynamic result is checked when the
// program runs.
func checkResult(t *types.Type, w Want) error {
	kind := t.Kind()
	if kind == types.DynKind {
		return nil
	}
	ok := false
	switch w {
	case WantBool:
		ok = kind == types.BoolKind
	case WantNumber:
		ok = kind == types.IntKind || kind == types.DoubleKind || kind == types.UintKind
	case WantString:
		ok = kind == types.StringKind || kind == types.IntKind
	case WantValue:
		ok = isValue(t)
	}
	if !ok {
		return fmt.Errorf("the result is %s, and %s is wanted", typeName(t), w)
	}
	return nil
}

func isValue(t *types.Type) bool {
	switch t.Kind() {
	case types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind, types.StringKind, types.TimestampKind, types.DynKind:
		return true
	case types.ListKind:
		return isValue(t.Parameters()[0])
	default:
		return false
	}
}

func typeName(t *types.Type) string {
	if name, ok := strings.CutPrefix(t.TypeName(), eventPrefix); ok {
		return "the event " + name + " as a whole"
	}
	if t.TypeName() == traitsName {
		return "all traits together"
	}
	return "a " + strings.TrimPrefix(cel.FormatCELType(t), "google.protobuf.")
}

// String says in words what is wanted.
func (w Want) String() string {
	switch w {
	case WantBool:
		return "true or false"
	case WantNumber:
		return "a number"
	case WantValue:
		return "a value"
	case WantString:
		return "text"
	}
	return "nothing"
}

// sizes is what the estimate assumes of values whose size the expression does not tell.
type sizes struct{}

// EstimateSize implements cost.Estimator.
func (sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	if computed := n.ComputedSize(); computed != nil {
		return computed
	}
	if n.Type().Kind() == types.StringKind || n.Type().Kind() == types.BytesKind {
		return &cost.SizeEstimate{Max: assumedText}
	}
	return &cost.SizeEstimate{Max: assumedList}
}

// EstimateCallCost implements cost.Estimator; CEL's own model is used.
func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate { //nolint:gocritic // the interface says so
	return nil
}

// needsTracking says whether one evaluation can cost much more than the expression is long. What only
// reads, compares and calculates cannot, and is not slowed down by counting.
func needsTracking(a *celast.AST) bool {
	heavy := false
	visit(a, func(e celast.Expr) {
		switch e.Kind() {
		case celast.ComprehensionKind:
			heavy = true
		case celast.CallKind:
			heavy = heavy || !cheap(e.AsCall().FunctionName())
		default: // reads or makes one value
		}
	})
	return heavy
}

func cheap(function string) bool {
	switch function {
	case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional, operators.Negate,
		operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals,
		operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo, operators.Index,
		"double", "int", "size", "timestamp", "duration":
		return true
	}
	return false
}
