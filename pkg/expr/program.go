package expr

import (
	"fmt"
	"math"
	"strconv"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// Program is a compiled expression. It is immutable and safe for concurrent use; equal inputs give equal
// results. An error means that the expression has no result for this input, such as a comparison of a
// dynamic property of the wrong type, a division by zero, or a cost over MaxCost.
type Program struct {
	program cel.Program
	dynamic bool
	reads   Reads
	spans   []Span
}

// Reads is what an expression reads of its event.
type Reads struct {
	// Properties by name, in the order in which they are written.
	Properties []string
	// All is set if it may read every property.
	All bool
}

// Reads returns what the expression reads of its event; nothing for a nil program.
func (p *Program) Reads() Reads {
	if p == nil {
		return Reads{}
	}
	return p.reads
}

// Bool evaluates a condition.
func (p *Program) Bool(in Input) (bool, error) {
	v, err := p.eval(&in)
	if err != nil {
		return false, err
	}
	b, ok := v.(types.Bool)
	if !ok {
		return false, wrongResult(v, WantBool)
	}
	return bool(b), nil
}

// Number evaluates to a number, which is always finite.
func (p *Program) Number(in Input) (float64, error) {
	v, err := p.eval(&in)
	if err != nil {
		return 0, err
	}
	var f float64
	switch v := v.(type) {
	case types.Int:
		f = float64(v)
	case types.Uint:
		f = float64(v)
	case types.Double:
		f = float64(v)
	default:
		return 0, wrongResult(v, WantNumber)
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, errNotFinite
	}
	return f, nil
}

// Value evaluates to a value; an instant is RFC 3339 text, null is a Value without kind.
func (p *Program) Value(in Input) (*eventv1.Value, error) {
	v, err := p.eval(&in)
	if err != nil {
		return nil, err
	}
	return toValue(v)
}

// String evaluates to text; a whole number becomes its decimal digits.
func (p *Program) String(in Input) (string, error) {
	v, err := p.eval(&in)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case types.String:
		return string(v), nil
	case types.Int:
		return strconv.FormatInt(int64(v), 10), nil
	}
	return "", wrongResult(v, WantString)
}

func (p *Program) eval(in *Input) (ref.Val, error) {
	v, _, err := p.program.Eval(&activation{in: in, dynamic: p.dynamic})
	if err != nil {
		return nil, fmt.Errorf("evaluate expression: %w", err)
	}
	return v, nil
}

func wrongResult(v ref.Val, w Want) error {
	return fmt.Errorf("the result is %s, and %s is wanted", v.Type().TypeName(), w)
}
