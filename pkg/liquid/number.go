package liquid

import (
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Arithmetic with decimals is exact and rounded once, at its end, so 10.1 - 2.2 is 7.9.

// digits prints a number as a person writes it: no exponent, and .0 behind a whole one that is not of the
// kind of whole numbers.
func digits(f float64) string {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// parseNumber is the value of a number in a template.
func parseNumber(s string) any {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil
	}
	return f
}

var (
	decimalText = regexp.MustCompile(`^-?\d+\.\d+$`)
	wholeText   = regexp.MustCompile(`^-?\d+$`)
	leading     = regexp.MustCompile(`^\s*[-+]?\d+`)
)

// maxDigits bounds the numbers in texts: no float64 has more.
const maxDigits = 400

// numeric is what filters calculate with: a whole number, or a decimal. What is not a number is 0.
func numeric(v any) any {
	switch x := v.(type) {
	case int64, float64, Decimal:
		return x
	case string:
		s := strings.Trim(x, blanks)
		if len(s) <= maxDigits && (decimalText.MatchString(s) || wholeText.MatchString(s)) {
			return parseNumber(s)
		}
	}
	return int64(0)
}

func rational(v any) *big.Rat {
	switch x := v.(type) {
	case int64:
		return new(big.Rat).SetInt64(x)
	case Decimal:
		return rational(float64(x))
	case float64:
		if r, ok := new(big.Rat).SetString(strconv.FormatFloat(x, 'f', -1, 64)); ok {
			return r
		}
	}
	return new(big.Rat)
}

// float is a result as a value; a number that is too large for one is refused, never printed as infinite.
func float(r *big.Rat) (any, error) {
	f, _ := r.Float64()
	if math.IsInf(f, 0) {
		return nil, failed("a number is too large")
	}
	return f, nil
}

// calculate applies + - * / or %. Two whole numbers give a whole number; if that leaves 64 bits, a decimal.
// What is calculated with a Decimal is one.
func calculate(a any, operator byte, b any) (any, error) {
	a, b = numeric(a), numeric(b)
	v, err := calculateNumbers(a, operator, b)
	return decimalLike(v, a, b), err
}

// decimalLike is v as a Decimal if one of those that it was made of is one.
func decimalLike(v any, of ...any) any {
	f, ok := v.(float64)
	if ok && slices.ContainsFunc(of, func(o any) bool { _, ok := o.(Decimal); return ok }) {
		return Decimal(f)
	}
	return v
}

func calculateNumbers(a any, operator byte, b any) (any, error) {
	x, xWhole := a.(int64)
	y, yWhole := b.(int64)
	whole := xWhole && yWhole
	if (operator == '/' || operator == '%') && rational(b).Sign() == 0 {
		return nil, failed("a number is divided by 0")
	}
	if whole {
		return calculateWhole(x, operator, y)
	}
	p, q := rational(a), rational(b)
	switch operator {
	case '+':
		return float(p.Add(p, q))
	case '-':
		return float(p.Sub(p, q))
	case '*':
		return float(p.Mul(p, q))
	case '/':
		return float(p.Quo(p, q))
	}
	quotient := new(big.Rat).Quo(p, q)
	return float(p.Sub(p, q.Mul(q, new(big.Rat).SetInt(floor(quotient)))))
}

func calculateWhole(x int64, operator byte, y int64) (any, error) {
	p, q, result := big.NewInt(x), big.NewInt(y), new(big.Int)
	switch operator {
	case '+':
		result.Add(p, q)
	case '-':
		result.Sub(p, q)
	case '*':
		result.Mul(p, q)
	default:
		quotient := floor(new(big.Rat).SetFrac(p, q))
		if operator == '/' {
			result = quotient
		} else {
			result.Sub(p, quotient.Mul(quotient, q))
		}
	}
	return integral(result)
}

// integral is a whole number as a value.
func integral(n *big.Int) (any, error) {
	if n.IsInt64() {
		return n.Int64(), nil
	}
	return float(new(big.Rat).SetInt(n))
}

func floor(r *big.Rat) *big.Int {
	// Div rounds down for a positive divisor, and a denominator is positive.
	return new(big.Int).Div(r.Num(), r.Denom())
}

// rounded rounds half away from zero to n places behind the point; n below 1 gives a whole number.
func rounded(v any, n int64) (any, error) {
	const most = 400
	n = max(min(n, most), -most)
	v = numeric(v)
	if _, ok := v.(int64); ok && n >= 0 {
		return v, nil
	}
	shift := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(max(n, -n)), nil))
	if n < 0 {
		shift.Inv(shift)
	}
	r := rational(v)
	negative := r.Sign() < 0
	r.Abs(r).Mul(r, shift)
	whole := new(big.Rat).SetInt(floor(r.Add(r, big.NewRat(1, 2))))
	whole.Quo(whole, shift)
	if negative {
		whole.Neg(whole)
	}
	if n > 0 {
		f, err := float(whole)
		return decimalLike(f, v), err
	}
	return integral(floor(whole))
}

// integer is a value that has to be whole.
func integer(v any) (int64, error) {
	switch x := v.(type) {
	case int64:
		return x, nil
	case Decimal:
		if n := int64(x); Decimal(n) == x {
			return n, nil
		}
	case string:
		if n, err := strconv.ParseInt(strings.Trim(x, blanks), 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, failed("a whole number is needed")
}

// leadingInt is the number that a text begins with, else 0.
func leadingInt(s string) int64 {
	n, _ := strconv.ParseInt(strings.Trim(leading.FindString(s), blanks), 10, 64)
	return n
}
