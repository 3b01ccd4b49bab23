package liquid

import (
	"maps"
	"path"
)

// partialNode is include and render. What render names sees its own arguments only; what include names sees
// and changes everything.
type partialNode struct {
	isolated bool
	name     expression
	with     expression
	forEach  bool
	as       string
	args     []namedArgument
	pos      int
}

func (n *partialNode) quiet() bool { return false }

func (n *partialNode) walk(v *visit) {
	n.name.walk(v)
	if n.with != nil {
		n.with.walk(v)
	}
	for _, a := range n.args {
		a.value.walk(v)
	}
}

func (n *partialNode) render(r *run, out *sink) error {
	return at(r.source, n.pos, n.fill(r, out))
}

func (n *partialNode) fill(r *run, out *sink) error {
	name, err := n.name.value(r)
	if err != nil {
		return err
	}
	t := r.partials[str(name)]
	if t == nil {
		return failed("there is no such template to include")
	}
	if !n.isolated && r.isolated {
		return failed("include is not allowed within render")
	}
	args := map[string]any{}
	for _, a := range n.args {
		v, err := a.value.value(r)
		if err != nil {
			return err
		}
		args[a.name] = plain(v)
	}
	var with any
	if n.with != nil {
		if with, err = n.with.value(r); err != nil {
			return err
		}
	}
	as := n.as
	if as == "" {
		as = path.Base(str(name))
	}
	if n.isolated {
		return n.alone(r, out, t, args, as, with)
	}
	if n.with == nil {
		with = r.lookup(str(name))
	}
	return r.within(func(scope map[string]any) error {
		maps.Copy(scope, args)
		list, ok := with.([]any)
		if !ok {
			list = []any{with}
		}
		for _, v := range list {
			scope[as] = v
			if err := r.render(t, out); err != nil || r.stop != goOn {
				return err
			}
		}
		return nil
	})
}

// alone renders a template that sees its arguments only.
func (n *partialNode) alone(r *run, out *sink, t *Template, args map[string]any, as string, with any) error {
	list, l := []any{with}, (*loop)(nil)
	if n.forEach {
		switch with.(type) {
		case []any, interval, *Map:
			var err error
			if list, err = r.elements(with, 0, nil); err != nil {
				return err
			}
			l = &loop{name: as, length: int64(len(list)), cols: -1}
		}
	}
	for _, v := range list {
		inner := newRun(t, &Map{}, r.budget)
		inner.now, inner.zone, inner.depth, inner.isolated = r.now, r.zone, r.depth, true
		scope := inner.scopes[0]
		if l != nil {
			scope["forloop"] = l
		}
		maps.Copy(scope, args)
		if v != nil {
			scope[as] = v
		}
		if err := inner.render(t, out); err != nil {
			return err
		}
		if l != nil {
			l.index++
		}
	}
	return nil
}

func parsePartial(p *parser, _ stream, t token) (node, error) {
	if !p.partials {
		return nil, syntax("%s is not allowed: a template stands for itself", t.name)
	}
	s, err := scan(p.source, t.text, t.body)
	if err != nil {
		return nil, err
	}
	n := &partialNode{isolated: t.name == "render", pos: t.pos}
	if n.isolated && s.peek().kind != quoted {
		return nil, s.unexpected("the name of a template as a text")
	}
	if n.name, err = s.expression(); err != nil {
		return nil, err
	}
	if n.forEach = s.is(identifier, "for"); n.forEach || s.is(identifier, "with") {
		if n.with, err = s.expression(); err != nil {
			return nil, err
		}
	}
	if s.is(identifier, "as") {
		as, err := s.want(identifier, "the name of a variable")
		if err != nil {
			return nil, err
		}
		n.as = as.text
	}
	for s.is(punct, ",") || s.peek().kind == identifier {
		if s.peek().kind == end {
			break
		}
		name, err := s.want(identifier, "the name of an argument")
		if err != nil {
			return nil, err
		}
		if err := s.mark(":"); err != nil {
			return nil, err
		}
		v, err := s.expression()
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, namedArgument{name.text, v})
	}
	return n, s.done()
}
