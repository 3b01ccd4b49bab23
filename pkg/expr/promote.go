package expr

import (
	"errors"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// The bounds of how often one expression is checked again, and of how much may be promoted in it.
const (
	maxRounds     = 16
	maxPromotions = 100
)

// check parses and type-checks src. Where an operator is given a whole number and another number, the
// whole number is promoted, as if double(…) were written around it: event.items * 0.5 is a number.
func (e *Env) check(env *cel.Env, src string, s Scope) (*cel.Ast, error) {
	var promoted []int64
	for round := 1; ; round++ {
		parsed, issues := env.Parse(src)
		if issues.Err() != nil {
			return nil, syntaxError(src, issues)
		}
		tree := parsed.NativeRep()
		if err := checkNames(tree, s); err != nil {
			return nil, err
		}
		// The checker rewrites the tree, and messages need it as it was written.
		written := celast.Copy(tree)
		for _, id := range promoted {
			promote(tree, id)
		}
		checked, issues := env.Check(parsed)
		if issues.Err() == nil {
			return checked, nil
		}
		more := promotions(issues, written)
		if len(more) == 0 {
			return nil, e.explain(src, issues, written, s)
		}
		if promoted = append(promoted, more...); round == maxRounds || len(promoted) > maxPromotions {
			return nil, errors.New("too many whole numbers meet other numbers (write double(…) around them)")
		}
	}
}

// promotions returns the ids of the arguments that have to become a double for the checker to agree.
func promotions(issues *cel.Issues, written *celast.AST) []int64 {
	wanted, wrong := map[int64]int{}, map[int64]bool{}
	for _, issue := range issues.Errors() {
		wrong[issue.ExprID] = true
		switch {
		case !strings.HasPrefix(issue.Message, "found no matching overload"):
		case strings.HasSuffix(issue.Message, "(int, double)'"):
			wanted[issue.ExprID] = 0
		case strings.HasSuffix(issue.Message, "(double, int)'"):
			wanted[issue.ExprID] = 1
		case strings.HasSuffix(issue.Message, "(bool, int, double)'"):
			wanted[issue.ExprID] = 1
		case strings.HasSuffix(issue.Message, "(bool, double, int)'"):
			wanted[issue.ExprID] = 2
		}
	}
	var ids []int64
	visit(written, func(x celast.Expr) {
		arg, ok := wanted[x.ID()]
		if !ok || x.Kind() != celast.CallKind || !promotes(x.AsCall().FunctionName()) || arg >= len(x.AsCall().Args()) {
			return
		}
		if whole := x.AsCall().Args()[arg]; !contains(whole, wrong) {
			ids = append(ids, whole.ID())
		}
	})
	return ids
}

// contains says whether something inside e is wrong itself; then its type is not known yet.
func contains(e celast.Expr, wrong map[int64]bool) bool {
	found := false
	celast.PreOrderVisit(e, celast.NewExprVisitor(func(x celast.Expr) { found = found || wrong[x.ID()] }))
	return found
}

func promotes(operator string) bool {
	switch operator {
	case operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Equals, operators.NotEquals,
		operators.Conditional:
		return true
	}
	return false
}

// promote writes double(…) around the node with the id; what is inside gets new ids.
func promote(tree *celast.AST, id int64) {
	next := celast.MaxID(tree)
	fac := celast.NewExprFactory()
	done := false
	visit(tree, func(x celast.Expr) {
		if x.ID() != id || done {
			return
		}
		done = true
		inner := fac.CopyExpr(x)
		inner.RenumberIDs(func(int64) int64 { next++; return next })
		x.SetKindCase(fac.NewCall(id, "double", inner))
	})
}
