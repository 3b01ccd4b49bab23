package event

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// NumberOf reads a number: one, or a text that is one, such as "19.99". Nothing is 0. why says what else is there, or what
// was lost of a number that no double holds; empty if it is as it was published.
func NumberOf(v *eventv1.Value) (n float64, why string) {
	switch k := v.GetKind().(type) {
	case nil:
		return 0, ""
	case *eventv1.Value_Integer:
		n = float64(k.Integer)
		if k.Integer > 1<<53 || k.Integer < -1<<53 {
			return n, lossOf(strconv.FormatInt(k.Integer, 10), n)
		}
		return n, ""
	case *eventv1.Value_Number:
		return k.Number, ""
	case *eventv1.Value_Text:
		text := strings.TrimSpace(k.Text)
		if text == "" {
			return 0, ""
		}
		if n, ok := decimal(text); ok {
			return n, lossOf(text, n)
		}
	}
	return 0, "is not a number; it was set aside"
}

// decimal reads digits, with a sign, a point and an exponent; no other way to write a number counts.
func decimal(text string) (float64, bool) {
	if strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune("0123456789+-.eE", r) }) {
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil
}

// lossOf says what n lost of a number as it is written; empty for nothing. Text is a decimal that is in range.
func lossOf(text string, n float64) string {
	if Holds(text, n) {
		return ""
	}
	return fmt.Sprintf("has more digits than a number can hold; it counts as %v", n)
}

// mostDigits is how long a number is compared digit by digit.
const mostDigits = 400

// Holds reports whether n is the number that text writes: written shortest, it has all of its digits.
func Holds(text string, n float64) bool {
	mantissa, _, _ := strings.Cut(strings.ToLower(text), "e")
	if n == 0 {
		return !strings.ContainsAny(mantissa, "123456789")
	}
	if len(text) > mostDigits || math.IsInf(n, 0) || math.IsNaN(n) {
		return false
	}
	written, ok := new(big.Rat).SetString(text) // the exponent is in a double's range, since n is neither 0 nor infinite
	held, fine := new(big.Rat).SetString(strconv.FormatFloat(n, 'g', -1, 64))
	return ok && fine && written.Cmp(held) == 0
}
