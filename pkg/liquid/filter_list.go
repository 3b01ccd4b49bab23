package liquid

import (
	"math/bits"
	"slices"
	"strings"
)

func listFilters() map[string]filter {
	return map[string]filter{
		"first": {0, 0, func(_ arguments, in any) (any, error) { return first(in), nil }},
		"last":  {0, 0, func(_ arguments, in any) (any, error) { return last(in), nil }},
		"join":  {0, 1, join},
		"reverse": onList(0, 0, func(_ arguments, list []any) (any, error) {
			list = slices.Clone(list)
			slices.Reverse(list)
			return list, nil
		}),
		"concat":       {1, 1, concat},
		"compact":      onList(0, 1, compact),
		"map":          onList(1, 1, mapTo),
		"uniq":         onList(0, 1, unique),
		"sum":          onList(0, 1, sum),
		"sort":         onList(0, 1, func(a arguments, list []any) (any, error) { return a.sorted(list, natural) }),
		"sort_natural": onList(0, 1, func(a arguments, list []any) (any, error) { return a.sorted(list, caseless) }),
		"where":        onList(1, 2, func(a arguments, list []any) (any, error) { return a.chosen(list, true) }),
		"reject":       onList(1, 2, func(a arguments, list []any) (any, error) { return a.chosen(list, false) }),
		"find": onList(1, 2, func(a arguments, list []any) (any, error) {
			i, err := a.firstFit(list)
			if i < 0 {
				return nil, err
			}
			return list[i], nil
		}),
		"find_index": onList(1, 2, func(a arguments, list []any) (any, error) {
			i, err := a.firstFit(list)
			if i < 0 {
				return nil, err
			}
			return int64(i), nil
		}),
		"has": onList(1, 2, func(a arguments, list []any) (any, error) {
			i, err := a.firstFit(list)
			return i >= 0, err
		}),
	}
}

// list is a value as a list: lists within lists are laid open, a range is written out, nil is nothing and
// anything else is its only element.
func (r *run) list(v any) ([]any, error) {
	switch x := v.(type) {
	case nil:
		return nil, nil
	case []any:
		if !slices.ContainsFunc(x, isList) {
			return x, r.budget.elements(len(x))
		}
		var out []any
		err := r.flatten(&out, x)
		return out, err
	case interval:
		n := x.size()
		if err := r.budget.elements(n); err != nil {
			return nil, err
		}
		out := make([]any, n)
		for i := range out {
			out[i] = x.from + int64(i)
		}
		return out, nil
	}
	return []any{v}, nil
}

func isList(v any) bool { _, ok := v.([]any); return ok }

func (r *run) flatten(out *[]any, list []any) error {
	if err := r.budget.elements(len(list)); err != nil {
		return err
	}
	for _, e := range list {
		if inner, ok := e.([]any); ok {
			if err := r.flatten(out, inner); err != nil {
				return err
			}
			continue
		}
		*out = append(*out, e)
	}
	return nil
}

func onList(least, most int, do func(a arguments, list []any) (any, error)) filter {
	return filter{least, most, func(a arguments, in any) (any, error) {
		list, err := a.run.list(in)
		if err != nil {
			return nil, err
		}
		return do(a, list)
	}}
}

func join(a arguments, in any) (any, error) {
	list, err := a.run.list(in)
	if err != nil {
		return nil, err
	}
	glue, err := a.text(0, " ")
	if err != nil {
		return nil, err
	}
	w := &writer{budget: a.run.budget}
	for i, v := range list {
		if i > 0 {
			if err := w.add(glue); err != nil {
				return nil, err
			}
		}
		if err := w.value(v, false); err != nil {
			return nil, err
		}
	}
	return w.b.String(), nil
}

func concat(a arguments, in any) (any, error) {
	more, ok := a.arg(0).([]any)
	if !ok {
		return nil, failed("the filter concat needs a list")
	}
	list, err := a.run.list(in)
	if err != nil {
		return nil, err
	}
	return slices.Concat(list, more), a.run.budget.elements(len(list) + len(more))
}

// property is what an element has under a key. known is false for elements that have no properties at all;
// an element that has none of this kind is a mistake.
func property(e, key any) (v any, known bool, err error) {
	switch x := e.(type) {
	case *Map:
		return at_(x, key), true, nil
	case []any:
		if _, ok := key.(int64); ok {
			return at_(x, key), true, nil
		}
	case string: // a text has the texts in it
		k, ok := key.(string)
		if key == nil || (ok && strings.Contains(x, k)) {
			return str(key), true, nil
		}
		if ok {
			return nil, true, nil
		}
	case int64: // a whole number has its bits, and each of them is something
		if i, ok := key.(int64); ok {
			return x >> min(max(i, 0), 63) & 1, true, nil //nolint:gosec // between 0 and 63
		}
		if key == nil {
			return nil, true, nil
		}
	case drop:
		return x.get(str(key)), true, nil
	default:
		return nil, false, nil
	}
	return nil, true, failed("an element has no such property")
}

func mapTo(a arguments, list []any) (any, error) {
	out := make([]any, 0, len(list))
	for _, e := range list {
		v, known, err := property(e, a.arg(0))
		if err != nil {
			return nil, err
		}
		if !known {
			v = nil
		}
		out = append(out, v)
	}
	return out, nil
}

// fits asks an element for a property: that it is set, or that it has the value of the second argument.
func (a arguments) fits(e any) (fits, known bool, err error) {
	v, known, err := property(e, a.arg(0))
	if err != nil || !known {
		return false, known, err
	}
	if want := a.arg(1); want != nil {
		fits, err = a.run.same(v, want)
		return fits, true, err
	}
	return truthy(v), true, nil
}

// chosen is the elements that fit, or that do not; nothing at all if one has no properties.
func (a arguments) chosen(list []any, want bool) (any, error) {
	out := []any{}
	for _, e := range list {
		fits, known, err := a.fits(e)
		if err != nil || !known {
			return nil, err
		}
		if fits == want {
			out = append(out, e)
		}
	}
	return out, nil
}

// firstFit is the index of the first element that fits; -1 if there is none before one without properties.
func (a arguments) firstFit(list []any) (int, error) {
	for i, e := range list {
		fits, known, err := a.fits(e)
		if err != nil || !known {
			return -1, err
		}
		if fits {
			return i, nil
		}
	}
	return -1, nil
}

func compact(a arguments, list []any) (any, error) {
	out := make([]any, 0, len(list))
	for _, e := range list {
		v, err := a.keyed(e)
		if err != nil {
			return nil, err
		}
		if v != nil {
			out = append(out, e)
		}
	}
	return out, nil
}

// keyed is the element, or what it has under the filter's argument.
func (a arguments) keyed(e any) (any, error) {
	if a.arg(0) == nil {
		return e, nil
	}
	v, _, err := property(e, a.arg(0))
	return v, err
}

func unique(a arguments, list []any) (any, error) {
	out, seen := []any{}, []any{}
	texts := map[string]bool{}
next:
	for _, e := range list {
		v, err := a.keyed(e)
		if err != nil {
			return nil, err
		}
		if s, ok := v.(string); ok { // the frequent case, without comparing each with each
			if !texts[s] {
				texts[s] = true
				out = append(out, e)
			}
			continue
		}
		for _, other := range seen {
			same, err := a.run.same(v, other)
			if err != nil {
				return nil, err
			}
			if same {
				continue next
			}
		}
		seen, out = append(seen, v), append(out, e)
	}
	return out, nil
}

func sum(a arguments, list []any) (any, error) {
	var total any = int64(0)
	for _, e := range list {
		v := e
		if a.arg(0) != nil {
			got, known, err := property(e, a.arg(0))
			if err != nil {
				return nil, err
			}
			if v = got; !known {
				v = int64(0)
			}
		}
		inner, err := a.run.list(v)
		if err != nil {
			return nil, err
		}
		for _, n := range inner {
			if total, err = calculate(total, '+', n); err != nil {
				return nil, err
			}
		}
	}
	return total, nil
}

type keyed struct{ by, value any }

// sorted is a stable sort; what is not set comes last.
func (a arguments) sorted(list []any, order func(a, b any) (int, error)) (any, error) {
	entries := make([]keyed, 0, len(list))
	bytes := 0
	for _, e := range list {
		by, err := a.keyed(e)
		if err != nil {
			return nil, err
		}
		if _, ok := by.(*Map); ok { // two hashes have no order but that of their texts
			if by, err = a.run.text(by); err != nil {
				return nil, err
			}
			by = hashText(str(by))
		}
		bytes += len(str(by))
		entries = append(entries, keyed{by, e})
	}
	if err := a.run.budget.work((len(list) + bytes) * bits.Len(uint(len(list)))); err != nil {
		return nil, err
	}
	var wrong error
	slices.SortStableFunc(entries, func(x, y keyed) int {
		switch {
		case x.by == nil && y.by == nil:
			return 0
		case x.by == nil:
			return 1
		case y.by == nil:
			return -1
		}
		sign, err := order(x.by, y.by)
		if err != nil {
			wrong = err
		}
		return sign
	})
	out := make([]any, len(entries))
	for i, e := range entries {
		out[i] = e.value
	}
	return out, wrong
}

// hashText is a hash in words: it has an order for sort_natural only.
type hashText string

func natural(a, b any) (int, error) {
	sign, ordered, err := order(a, b)
	if err == nil && !ordered {
		err = failed("values of different kinds cannot be sorted")
	}
	return sign, err
}

func caseless(a, b any) (int, error) {
	return strings.Compare(foldASCII(a), foldASCII(b)), nil
}

// foldASCII is a value in lower case, as far as it is ASCII.
func foldASCII(v any) string {
	if h, ok := v.(hashText); ok {
		v = string(h)
	}
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, str(v))
}
