package liquid

import (
	"fmt"
	"maps"
	"slices"
)

// filter is what stands behind a |.
type filter struct {
	least, most int
	apply       func(a arguments, in any) (any, error)
}

func (f filter) counts() string {
	switch {
	case f.most == 0:
		return "no argument"
	case f.least == f.most && f.most == 1:
		return "1 argument"
	case f.least == f.most:
		return fmt.Sprintf("%d arguments", f.most)
	}
	return fmt.Sprintf("%d to %d arguments", f.least, f.most)
}

// arguments are what a filter is called with, beside its input.
type arguments struct {
	run        *run
	list       []any
	allowFalse bool
}

// arg is the i-th argument, nil if it is not given.
func (a arguments) arg(i int) any {
	if i < len(a.list) {
		return a.list[i]
	}
	return nil
}

func (a arguments) text(i int, otherwise string) (string, error) {
	if i >= len(a.list) {
		return otherwise, nil
	}
	return a.run.text(a.list[i])
}

func (a arguments) integer(i int, otherwise int64) (int64, error) {
	if i >= len(a.list) {
		return otherwise, nil
	}
	return integer(a.list[i])
}

// filters is every filter by name.
func filters() map[string]filter {
	all := map[string]filter{"default": {0, 2, defaultTo}, "date": {1, 1, date}, "size": {0, 0, sizeOf}}
	maps.Copy(all, mathFilters())
	maps.Copy(all, textFilters())
	maps.Copy(all, encodingFilters())
	maps.Copy(all, listFilters())
	return all
}

// Filters lists the names of all filters, sorted.
func Filters() []string { return slices.Sorted(maps.Keys(filters())) }

func defaultTo(a arguments, in any) (any, error) {
	unset := in == nil || (isFalse(in) && !a.allowFalse)
	switch x := in.(type) {
	case string:
		unset = x == ""
	case []any:
		unset = len(x) == 0
	case *Map:
		unset = len(x.keys) == 0
	}
	if !unset {
		return in, nil
	}
	if len(a.list) == 0 {
		return "", nil
	}
	return a.list[0], nil
}

func sizeOf(a arguments, in any) (any, error) {
	if s, ok := in.(string); ok {
		if err := a.run.budget.work(len(s)); err != nil {
			return nil, err
		}
	}
	if n := size(in); n != nil {
		return n, nil
	}
	return int64(0), nil
}

// mathFilters calculate.
func mathFilters() map[string]filter {
	operation := func(operator byte) filter {
		return filter{1, 1, func(a arguments, in any) (any, error) { return calculate(in, operator, a.arg(0)) }}
	}
	toWhole := func(up bool) filter {
		return filter{0, 0, func(_ arguments, in any) (any, error) {
			r := rational(numeric(in))
			if up {
				r.Neg(r)
			}
			n := floor(r)
			if up {
				n.Neg(n)
			}
			return integral(n)
		}}
	}
	limit := func(sign int) filter {
		return filter{1, 1, func(a arguments, in any) (any, error) {
			v, bound := numeric(in), numeric(a.arg(0))
			if compareNumbers(bound, v) == sign {
				return bound, nil
			}
			return v, nil
		}}
	}
	return map[string]filter{
		"plus": operation('+'), "minus": operation('-'), "times": operation('*'), "divided_by": operation('/'),
		"modulo": operation('%'), "ceil": toWhole(true), "floor": toWhole(false), "at_least": limit(1), "at_most": limit(-1),
		"abs": {0, 0, func(_ arguments, in any) (any, error) {
			v := numeric(in)
			if compareNumbers(v, int64(0)) < 0 {
				return calculate(int64(0), '-', v)
			}
			return v, nil
		}},
		"round": {0, 1, func(a arguments, in any) (any, error) {
			n := numeric(a.arg(0))
			places, ok := n.(int64)
			if f, decimal := n.(float64); !ok && decimal {
				places = int64(max(min(f, maxDigits), -maxDigits))
			}
			return rounded(in, places)
		}},
	}
}

// suggestion names what was probably meant.
func suggestion(name string, known map[string]filter) string {
	best, least := "", 3
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is the number of letters to change, add or remove.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
