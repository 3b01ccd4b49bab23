package liquid

import (
	"cmp"
	"strings"
)

// condition is a chain of comparisons. and and or are of one rank and read from the right, as in
// the reference: the chain stops at the first and that is false and at the first or that is true.
type condition struct {
	left, right expression
	operator    string // "" for the left side alone
	relation    string // "and", "or", or "" at the end
	rest        *condition
	pos         int
}

func (s *scanner) condition() (*condition, error) {
	c := &condition{pos: s.peek().pos}
	var err error
	if c.left, err = s.expression(); err != nil {
		return nil, err
	}
	if l := s.peek(); l.kind == comparison {
		s.take()
		c.operator = l.text
		if c.right, err = s.expression(); err != nil {
			return nil, err
		}
	}
	if l := s.peek(); l.kind == identifier && (l.text == "and" || l.text == "or") {
		s.take()
		c.relation = l.text
		s.depth++
		if s.depth > maxNesting {
			return nil, at(s.source, l.pos, syntax("the condition has too many parts"))
		}
		c.rest, err = s.condition()
		s.depth--
		return c, err
	}
	return c, s.done()
}

func (c *condition) walk(v *visit) {
	for ; c != nil; c = c.rest {
		c.left.walk(v)
		if c.right != nil {
			c.right.walk(v)
		}
	}
}

func (c *condition) holds(r *run) (bool, error) {
	for {
		ok, err := c.one(r)
		if err != nil {
			return false, at(r.source, c.pos, err)
		}
		if c.rest == nil || (c.relation == "or") == ok {
			return ok, nil
		}
		c = c.rest
	}
}

func (c *condition) one(r *run) (bool, error) {
	if err := r.budget.step(1); err != nil {
		return false, err
	}
	left, err := c.left.value(r)
	if err != nil || c.operator == "" {
		return truthy(left), err
	}
	right, err := c.right.value(r)
	if err != nil {
		return false, err
	}
	return compare(r, left, c.operator, right)
}

func compare(r *run, left any, operator string, right any) (bool, error) {
	switch operator {
	case "==":
		return equal(r, left, right)
	case "!=", "<>":
		same, err := equal(r, left, right)
		return !same, err
	case "contains":
		return contains(r, left, right)
	}
	sign, ordered, err := order(left, right)
	if err != nil || !ordered {
		return false, err
	}
	switch operator {
	case "<":
		return sign < 0, nil
	case "<=":
		return sign <= 0, nil
	case ">":
		return sign > 0, nil
	}
	return sign >= 0, nil
}

// order compares numbers with numbers and texts with texts. Other kinds have no order, and a number
// and a text are a mistake.
func order(a, b any) (sign int, ordered bool, err error) {
	as, aText := a.(string)
	bs, bText := b.(string)
	switch {
	case aText && bText:
		return strings.Compare(as, bs), true, nil
	case isNumber(a) && isNumber(b):
		return compareNumbers(a, b), true, nil
	case (aText || isNumber(a)) && (bText || isNumber(b)):
		return 0, false, failed("a number and a text are compared")
	}
	return 0, false, nil
}

func compareNumbers(a, b any) int {
	x, xInt := a.(int64)
	y, yInt := b.(int64)
	if xInt && yInt {
		return cmp.Compare(x, y)
	}
	return rational(a).Cmp(rational(b))
}

// equal compares by value. blank and empty stand for all values that are so.
func equal(r *run, a, b any) (bool, error) {
	if s, ok := a.(special); ok {
		return s.covers(b), nil
	}
	if s, ok := b.(special); ok {
		return s.covers(a), nil
	}
	return r.same(a, b)
}

func (s special) covers(v any) bool {
	switch x := v.(type) {
	case nil:
		return s == blank
	case bool:
		return s == blank && !x
	case string:
		return x == "" || (s == blank && strings.TrimSpace(x) == "")
	case []any:
		return len(x) == 0
	case *Map:
		return len(x.keys) == 0
	}
	return false
}

func (r *run) same(a, b any) (bool, error) {
	if err := r.budget.step(1); err != nil {
		return false, err
	}
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		return ok && x == y, r.budget.work(len(x))
	case int64, float64, Decimal:
		return isNumber(b) && compareNumbers(a, b) == 0, nil
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false, nil
		}
		for i := range x {
			if same, err := r.same(x[i], y[i]); !same {
				return false, err
			}
		}
		return true, nil
	case *Map:
		y, ok := b.(*Map)
		if !ok || len(x.keys) != len(y.keys) {
			return false, nil
		}
		for k, v := range x.values {
			other, ok := y.values[k]
			if same, err := r.same(v, other); !ok || !same {
				return false, err
			}
		}
		return true, nil
	case drop:
		return false, nil
	}
	return a == b, nil
}

func contains(r *run, in, what any) (bool, error) {
	what = plain(what)
	if what == nil || isFalse(what) {
		return false, nil
	}
	switch x := in.(type) {
	case string:
		return strings.Contains(x, str(what)), r.budget.work(len(x))
	case []any:
		for _, v := range x {
			if same, err := r.same(v, what); same || err != nil {
				return same, err
			}
		}
	case *Map:
		k, ok := what.(string)
		_, has := x.values[k]
		return ok && has, nil
	case interval:
		n, ok := what.(int64)
		return ok && n >= x.from && n <= x.to, nil
	}
	return false, nil
}
