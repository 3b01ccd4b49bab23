package liquid

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Values are nil, bool, int64, float64, Decimal, string, time.Time, []any, *Map, and inside of the engine
// interval (a range), special (blank and empty) and drop (forloop).

// Decimal is a number with decimals that prints without them where there are none: 3000000, not 3000000.0. It
// is how a caller gives a number that people read, such as a sum of money. It stays one through filters, and
// dividing it leaves nothing off.
type Decimal float64

// Map is a hash that keeps the order in which its keys were set.
type Map struct {
	keys   []string
	values map[string]any
}

// Set adds a key, or replaces its value.
func (m *Map) Set(key string, v any) {
	if m.values == nil {
		m.values = map[string]any{}
	}
	if _, ok := m.values[key]; !ok {
		m.keys = append(m.keys, key)
	}
	m.values[key] = v
}

// interval is a range: from up to and with to.
type interval struct{ from, to int64 }

// size is how many numbers the range has; a range of more than 2^31 is reported as that many.
func (i interval) size() int {
	const most = 1 << 31
	if i.to < i.from {
		return 0
	}
	if n := uint64(i.to) - uint64(i.from); n < most { //nolint:gosec // the difference fits by two's complement
		return int(n) + 1 //nolint:gosec // below 2^31
	}
	return most
}

// drop is a value whose members are worked out when they are asked for.
type drop interface{ get(name string) any }

// own copies what a caller gives into the engine's own kinds. Keys of a Go map are sorted, so that
// a rendering is the same each time.
func own(v any) any {
	switch x := v.(type) {
	case int:
		return int64(x)
	case int32:
		return int64(x)
	case uint32:
		return int64(x)
	case float32:
		return float64(x)
	case []string:
		return ownAll(x)
	case []any:
		return ownAll(x)
	case map[string]any:
		keys := make([]string, 0, len(x))
		for k := range x {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		m := &Map{}
		for _, k := range keys {
			m.Set(k, own(x[k]))
		}
		return m
	case *Map:
		m := &Map{}
		for _, k := range x.keys {
			m.Set(k, own(x.values[k]))
		}
		return m
	case nil, bool, int64, float64, Decimal, string, time.Time:
		return x
	}
	return nil
}

func ownAll[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = own(v)
	}
	return out
}

func truthy(v any) bool { return v != nil && !isFalse(v) }

func isFalse(v any) bool {
	b, ok := v.(bool)
	return ok && !b
}

// plain is what blank and empty are outside of comparisons.
func plain(v any) any {
	if _, ok := v.(special); ok {
		return ""
	}
	return v
}

func isNumber(v any) bool {
	switch v.(type) {
	case int64, float64, Decimal:
		return true
	}
	return false
}

// str is a value of one piece as text. Lists and hashes go through run.text, which is bounded.
func str(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case bool:
		return strconv.FormatBool(x)
	case int64:
		return strconv.FormatInt(x, 10)
	case float64:
		return digits(x)
	case Decimal:
		return strings.TrimSuffix(digits(float64(x)), ".0")
	case time.Time:
		return x.Format("2006-01-02 15:04:05 -0700")
	case interval:
		return str(x.from) + ".." + str(x.to)
	}
	return ""
}

// text is any value as text, charged to the budget.
func (r *run) text(v any) (string, error) {
	switch x := v.(type) {
	case string:
		return x, nil
	case []any, *Map:
		w := &writer{budget: r.budget}
		err := w.value(x, false)
		return w.b.String(), err
	}
	return str(v), nil
}

// writer puts lists and hashes into words within the budget.
type writer struct {
	budget *budget
	b      strings.Builder
}

func (w *writer) add(s string) error {
	if err := w.budget.alloc(len(s)); err != nil {
		return err
	}
	w.b.WriteString(s)
	return nil
}

// value writes a list as its elements, one behind the other, and a hash as the reference does. Inside of a
// hash everything is quoted.
func (w *writer) value(v any, inside bool) error {
	switch x := v.(type) {
	case []any:
		return w.list(x, inside)
	case *Map:
		return w.hash(x)
	case nil:
		if inside {
			return w.add("nil")
		}
	case string:
		if inside {
			return w.add(strconv.Quote(x))
		}
	}
	return w.add(str(v))
}

func (w *writer) list(list []any, inside bool) error {
	if inside {
		if err := w.add("["); err != nil {
			return err
		}
	}
	for i, e := range list {
		if inside && i > 0 {
			if err := w.add(", "); err != nil {
				return err
			}
		}
		if err := w.value(e, inside); err != nil {
			return err
		}
	}
	if inside {
		return w.add("]")
	}
	return nil
}

func (w *writer) hash(m *Map) error {
	if err := w.add("{"); err != nil {
		return err
	}
	for i, k := range m.keys {
		separator := ""
		if i > 0 {
			separator = ", "
		}
		if err := w.add(separator + strconv.Quote(k) + "=>"); err != nil {
			return err
		}
		if err := w.value(m.values[k], true); err != nil {
			return err
		}
	}
	return w.add("}")
}

// size is how many characters, elements or keys a value has. That of a whole number is its bytes, as in the
// reference.
func size(v any) any {
	switch x := v.(type) {
	case string:
		return int64(len([]rune(x)))
	case []any:
		return int64(len(x))
	case *Map:
		return int64(len(x.keys))
	case interval:
		return int64(x.size())
	case int64:
		return int64(8)
	}
	return nil
}

func first(v any) any {
	switch x := v.(type) {
	case string:
		for _, c := range x {
			return string(c)
		}
		return ""
	case []any:
		if len(x) > 0 {
			return x[0]
		}
	case *Map:
		if len(x.keys) > 0 {
			return x.pair(0)
		}
	case interval:
		return x.from
	}
	return nil
}

func last(v any) any {
	switch x := v.(type) {
	case string:
		if r := []rune(x); len(r) > 0 {
			return string(r[len(r)-1])
		}
		return ""
	case []any:
		if len(x) > 0 {
			return x[len(x)-1]
		}
	case interval:
		return x.to
	}
	return nil
}

// pair is the i-th key and its value, as loops see them.
func (m *Map) pair(i int) []any { return []any{m.keys[i], m.values[m.keys[i]]} }
