package liquid

import (
	"strings"
)

type assignNode struct {
	name  string
	value *filtered
	pos   int
}

func (n assignNode) quiet() bool { return true }

func (n assignNode) walk(v *visit) {
	n.value.walk(v)
	v.set(n.name)
}

func (n assignNode) render(r *run, _ *sink) error {
	v, err := n.value.value(r)
	if err != nil {
		return at(r.source, n.pos, err)
	}
	r.scopes[0][n.name] = v
	return at(r.source, n.pos, r.budget.alloc(element))
}

func isName(s string) bool {
	for _, c := range s {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != ""
}

func parseAssign(p *parser, _ stream, t token) (node, error) {
	name, value, ok := strings.Cut(t.text, "=")
	if !ok || !isName(strings.Trim(name, blanks)) {
		return nil, syntax("assign is written: assign name = value")
	}
	s, err := scan(p.source, value, t.body+len(name)+1)
	if err != nil {
		return nil, err
	}
	f, err := s.filtered()
	return assignNode{strings.Trim(name, blanks), f, t.pos}, err
}

type captureNode struct {
	name string
	body *body
	pos  int
}

func (n captureNode) quiet() bool { return true }

func (n captureNode) walk(v *visit) {
	n.body.walk(v)
	v.set(n.name)
}

func (n captureNode) render(r *run, _ *sink) error {
	s, err := r.captured(n.body)
	if err == nil {
		r.scopes[0][n.name] = s
	}
	return at(r.source, n.pos, err)
}

func parseCapture(p *parser, s stream, t token) (node, error) {
	name := strings.Trim(t.text, blanks+`"'`)
	if !isName(name) {
		return nil, syntax("capture needs the name of a variable")
	}
	b, err := p.block(s, t)
	return captureNode{name, b, t.pos}, err
}

// counterNode is increment, which writes and then adds, or decrement, which takes away and then writes.
type counterNode struct {
	name string
	up   bool
}

func (n counterNode) quiet() bool   { return false }
func (n counterNode) walk(v *visit) { v.set(n.name) }

func (n counterNode) render(r *run, out *sink) error {
	count, ok := r.counters[n.name]
	if !ok {
		count, _ = r.globals.values[n.name].(int64)
		if err := r.budget.alloc(element); err != nil {
			return err
		}
	}
	if n.up {
		r.counters[n.name] = count + 1
		return out.write(str(count))
	}
	r.counters[n.name] = count - 1
	return out.write(str(count - 1))
}

func parseCounter(_ *parser, _ stream, t token) (node, error) {
	name := strings.Trim(t.text, blanks)
	if !isName(strings.TrimSuffix(name, "?")) {
		return nil, syntax("%s needs the name of a counter", t.name)
	}
	return counterNode{name, t.name == "increment"}, nil
}

type cycleNode struct {
	group  expression // nil: the values are the group
	key    string
	values []expression
	pos    int
}

func (n cycleNode) quiet() bool { return false }

func (n cycleNode) walk(v *visit) {
	if n.group != nil {
		quietly := *v
		quietly.guarded = true // an unknown name is a group like any other
		n.group.walk(&quietly)
		v.uses = quietly.uses
	}
	for _, e := range n.values {
		e.walk(v)
	}
}

func (n cycleNode) render(r *run, out *sink) error {
	key := "values " + n.key
	if n.group != nil {
		v, err := n.group.value(r)
		if err != nil {
			return at(r.source, n.pos, err)
		}
		s, err := r.text(v)
		if err != nil {
			return at(r.source, n.pos, err)
		}
		key = "name " + s
	}
	if err := r.budget.alloc(len(key)); err != nil {
		return err
	}
	i := r.cycles[key]
	var v any
	if i < len(n.values) {
		got, err := n.values[i].value(r)
		if err != nil {
			return at(r.source, n.pos, err)
		}
		v = got
	}
	i++
	if i >= len(n.values) {
		i = 0
	}
	r.cycles[key] = i
	s, err := r.text(plain(v))
	if err == nil {
		err = out.write(s)
	}
	return at(r.source, n.pos, err)
}

func parseCycle(p *parser, _ stream, t token) (node, error) {
	s, err := scan(p.source, t.text, t.body)
	if err != nil {
		return nil, err
	}
	n := cycleNode{pos: t.pos}
	first, err := s.expression()
	if err != nil {
		return nil, err
	}
	if s.is(punct, ":") {
		n.group = first
		if first, err = s.expression(); err != nil {
			return nil, err
		}
	}
	n.values = []expression{first}
	for s.is(punct, ",") {
		if s.peek().kind == end {
			break
		}
		e, err := s.expression()
		if err != nil {
			return nil, err
		}
		n.values = append(n.values, e)
	}
	keys := make([]string, len(n.values))
	for i, e := range n.values {
		keys[i] = e.key()
	}
	n.key = strings.Join(keys, ",")
	return n, s.done()
}
