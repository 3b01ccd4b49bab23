package expr

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
)

// Env compiles expressions against one schema. It is safe for concurrent use.
type Env struct {
	schema Schema
	base   *cel.Env

	mu     sync.Mutex
	scopes map[Scope]*cel.Env
}

// NewEnv returns the environment of a schema, which must not change afterwards. The outcomes are declared in each; see
// OutcomeFields.
func NewEnv(s Schema) (*Env, error) {
	s = withOutcomes(s)
	reg, err := types.NewRegistry()
	if err != nil {
		return nil, fmt.Errorf("make type registry: %w", err)
	}
	base, err := cel.NewEnv(
		cel.CustomTypeAdapter(reg),
		cel.CustomTypeProvider(newProvider(reg, s)),
		cel.CrossTypeNumericComparisons(true),
		cel.EnableIdentifierEscapeSyntax(),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(MaxLength),
		cel.ParserRecursionLimit(maxRecursion),
		cel.ParserErrorRecoveryLimit(maxErrors),
		cel.ExpressionNodeLimit(maxNodes),
		cel.RegexProgramSizeLimit(maxRegexProgram),
		ext.Math(),
		cel.ASTValidators(
			cel.ValidateDurationLiterals(),
			cel.ValidateTimestampLiterals(),
			cel.ValidateRegexLiterals(),
			cel.ValidateComprehensionNestingLimit(maxComprehension),
		),
	)
	if err != nil {
		return nil, fmt.Errorf("make expression environment: %w", err)
	}
	return &Env{schema: s, base: base, scopes: map[Scope]*cel.Env{}}, nil
}

// Compile checks src in a scope and returns the program, which is safe for concurrent use. The error is
// for the author of the expression: one line that says what is wrong and why.
func (e *Env) Compile(src string, s Scope, w Want) (*Program, error) {
	if err := checkSource(src); err != nil {
		return nil, err
	}
	if _, declared := e.schema.Events[s.Event]; s.Event != "" && !declared {
		s.Event = AnyEvent
	}
	env, err := e.scope(s)
	if err != nil {
		return nil, err
	}
	checked, err := e.check(env, src, s)
	if err != nil {
		return nil, err
	}
	if err := checkResult(checked.OutputType(), w); err != nil {
		return nil, err
	}
	return e.plan(env, checked, s)
}

func (e *Env) plan(env *cel.Env, checked *cel.Ast, s Scope) (*Program, error) {
	estimate, err := env.EstimateCost(checked, sizes{})
	if err != nil {
		return nil, fmt.Errorf("estimate cost: %w", err)
	}
	if estimate.Max > MaxCost {
		return nil, fmt.Errorf("too expensive: it may cost %d, and %d is allowed (nested loops and long texts cost most)", estimate.Max, MaxCost)
	}
	opts := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if needsTracking(checked.NativeRep()) {
		opts = append(opts, cel.CostLimit(MaxCost))
	}
	program, err := env.Program(checked, opts...)
	if err != nil {
		return nil, fmt.Errorf("plan expression: %w", err)
	}
	return &Program{program: program, dynamic: s.Event == AnyEvent, reads: eventReads(checked.NativeRep()), spans: spansOf(checked.NativeRep().Expr())}, nil
}

// scope returns the CEL environment of a scope, made at its first use.
func (e *Env) scope(s Scope) (*cel.Env, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if env, ok := e.scopes[s]; ok {
		return env, nil
	}
	var opts []cel.EnvOption
	switch s.Event {
	case "":
	case AnyEvent:
		opts = append(opts, cel.Variable("event", cel.DynType))
	default:
		opts = append(opts, cel.Variable("event", cel.ObjectType(eventPrefix+s.Event)))
	}
	if s.Traits {
		opts = append(opts, cel.Variable("traits", cel.ObjectType(traitsName)))
	}
	env, err := e.base.Extend(opts...)
	if err != nil {
		return nil, fmt.Errorf("make expression environment: %w", err)
	}
	e.scopes[s] = env
	return env, nil
}

// checkSource refuses what the parser should not even see.
func checkSource(src string) error {
	if strings.TrimSpace(src) == "" {
		return errors.New("the expression is empty")
	}
	if !utf8.ValidString(src) {
		return errors.New("not valid UTF-8")
	}
	if n := utf8.RuneCountInString(src); n > MaxLength {
		return fmt.Errorf("too long: %d characters, and %d are allowed", n, MaxLength)
	}
	depth, deepest := 0, 0
	for i := range len(src) {
		switch src[i] {
		case '(', '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ')', ']', '}':
			depth--
		}
	}
	if deepest > MaxNesting {
		return fmt.Errorf("too deep: brackets nest %d deep, and %d is allowed", deepest, MaxNesting)
	}
	return nil
}
