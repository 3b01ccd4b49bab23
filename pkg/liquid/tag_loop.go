package liquid

import (
	"slices"
	"strings"
)

// loop is forloop: where a for or a tablerow is.
type loop struct {
	name          string
	length, index int64 // index counts from 0
	parent        *loop
	cols          int64 // of a tablerow; -1 in a for
	col, row      int64
}

func (l *loop) get(name string) any {
	switch name {
	case "name":
		return l.name
	case "length":
		return l.length
	case "index":
		return l.index + 1
	case "index0":
		return l.index
	case "rindex":
		return l.length - l.index
	case "rindex0":
		return l.length - l.index - 1
	case "first":
		return l.index == 0
	case "last":
		return l.index == l.length-1
	}
	if l.cols < 0 {
		if name == "parentloop" && l.parent != nil {
			return l.parent
		}
		return nil
	}
	switch name {
	case "col":
		return l.col
	case "col0":
		return l.col - 1
	case "row":
		return l.row
	case "col_first":
		return l.col == 1
	case "col_last":
		return l.col == l.cols
	}
	return nil
}

// each is the head of a for or a tablerow: what it goes over, and which part.
type each struct {
	name     string
	over     expression
	limit    expression
	offset   expression
	goOn     bool // offset: continue
	reversed bool
	cols     expression
	pos      int
}

func (e *each) walk(v *visit) {
	for _, x := range []expression{e.over, e.limit, e.offset, e.cols} {
		if x != nil {
			x.walk(v)
		}
	}
}

// elements is a value as what a loop goes over, at most n of it and from an offset. A range is not written
// out beyond that.
func (r *run) elements(v any, from int64, limit *int64) ([]any, error) {
	var size int64
	element := func(int64) any { return nil }
	switch x := v.(type) {
	case []any:
		size, element = int64(len(x)), func(i int64) any { return x[i] }
	case interval:
		size, element = int64(x.size()), func(i int64) any { return x.from + i }
	case *Map:
		size, element = int64(len(x.keys)), func(i int64) any { return x.pair(int(i)) }
	case string:
		if x == "" {
			return nil, nil
		}
		return []any{x}, nil
	}
	to := size
	if limit != nil && *limit < size && from+*limit < size {
		to = from + *limit
	}
	from = max(from, 0)
	if from >= to {
		return nil, nil
	}
	if err := r.budget.elements(int(min(to-from, 1<<31))); err != nil {
		return nil, err
	}
	out := make([]any, 0, to-from)
	for i := from; i < to; i++ {
		out = append(out, element(i))
	}
	return out, nil
}

type forNode struct {
	each
	group       string // loops of one group go on where the last one stopped
	body, else_ *body
}

func (n *forNode) quiet() bool { return n.body.quiet() && n.else_.quiet() }

func (n *forNode) walk(v *visit) {
	n.each.walk(v)
	v.within([]string{n.name, "forloop"}, func() { n.body.walk(v) })
	n.else_.walk(v)
}

func (n *forNode) render(r *run, out *sink) error {
	list, err := n.part(r)
	if err != nil {
		return at(r.source, n.pos, err)
	}
	if len(list) == 0 {
		return n.else_.render(r, out)
	}
	l := &loop{name: n.group, length: int64(len(list)), cols: -1}
	if len(r.loops) > 0 {
		l.parent = r.loops[len(r.loops)-1]
	}
	r.loops = append(r.loops, l)
	err = r.within(func(scope map[string]any) error {
		scope["forloop"] = l
		for _, v := range list {
			scope[n.name] = v
			if err := r.budget.step(1); err != nil {
				return at(r.source, n.pos, err)
			}
			if err := n.body.render(r, out); err != nil {
				return err
			}
			if r.interrupted() == breakLoop {
				return nil
			}
			l.index++
		}
		return nil
	})
	r.loops = r.loops[:len(r.loops)-1]
	return err
}

// interrupted takes an interrupt.
func (r *run) interrupted() interrupt {
	stop := r.stop
	r.stop = goOn
	return stop
}

func (n *forNode) part(r *run) ([]any, error) {
	from, err := r.number(n.offset, 0)
	if err != nil {
		return nil, err
	}
	if n.goOn {
		from = r.offsets[n.group]
	}
	over, err := n.over.value(r)
	if err != nil {
		return nil, err
	}
	var limit *int64
	if n.limit != nil {
		v, err := n.limit.value(r)
		if err != nil {
			return nil, err
		}
		if v != nil {
			count, err := integer(v)
			if err != nil {
				return nil, err
			}
			limit = &count
		}
	}
	list, err := r.elements(plain(over), from, limit)
	if n.reversed {
		list = slices.Clone(list)
		slices.Reverse(list)
	}
	r.offsets[n.group] = from + int64(len(list))
	return list, err
}

// number is a whole number, otherwise if there is none.
func (r *run) number(e expression, otherwise int64) (int64, error) {
	if e == nil {
		return otherwise, nil
	}
	v, err := e.value(r)
	if err != nil || v == nil {
		return otherwise, err
	}
	return integer(v)
}

// each reads "name in value" and hands what follows to rest.
func (p *parser) each(t token, attribute func(s *scanner, e *each, name string) error) (each, error) {
	e := each{pos: t.pos}
	s, err := scan(p.source, t.text, t.body)
	if err != nil {
		return e, err
	}
	name, err := s.want(identifier, "the name of a variable")
	if err != nil {
		return e, err
	}
	if e.name = name.text; !s.is(identifier, "in") {
		return e, s.unexpected("in")
	}
	if e.over, err = s.expression(); err != nil {
		return e, err
	}
	if t.name == "for" && s.is(identifier, "reversed") {
		e.reversed = true
	}
	for s.is(punct, ",") || s.peek().kind == identifier {
		if s.peek().kind == end {
			break
		}
		l, err := s.want(identifier, "limit or offset")
		if err != nil {
			return e, err
		}
		if err := s.mark(":"); err != nil {
			return e, err
		}
		if err := attribute(s, &e, l.text); err != nil {
			return e, at(p.source, l.pos, err)
		}
	}
	return e, s.done()
}

func (s *scanner) part(e *each, name string) (err error) {
	switch name {
	case "limit":
		e.limit, err = s.expression()
	case "offset":
		if s.is(identifier, "continue") {
			e.goOn = true
			return nil
		}
		e.offset, err = s.expression()
	default:
		return syntax("a loop has no %s; it has limit and offset", name)
	}
	return err
}

func parseFor(p *parser, s stream, t token) (node, error) {
	e, err := p.each(t, (*scanner).part)
	if err != nil {
		return nil, err
	}
	n := &forNode{each: e, group: e.name + "-" + e.over.key()}
	var next token
	n.body, next, err = p.body(s, func(name string) bool { return name == "else" || name == "endfor" })
	if err == nil && next.name == "else" {
		n.else_, next, err = p.body(s, func(name string) bool { return name == "endfor" })
	}
	if err == nil && next.name == "" {
		err = unclosed(t)
	}
	if err != nil {
		return nil, err
	}
	silence(n.body, n.else_)
	return n, nil
}

type tableNode struct {
	each
	body *body
}

func (n *tableNode) quiet() bool { return false }

func (n *tableNode) walk(v *visit) {
	n.each.walk(v)
	v.within([]string{n.name, "tablerowloop"}, func() { n.body.walk(v) })
}

func (n *tableNode) render(r *run, out *sink) error {
	over, err := n.over.value(r)
	if err != nil || !truthy(over) {
		return at(r.source, n.pos, err)
	}
	list, cols, err := n.part(r, plain(over))
	if err != nil {
		return at(r.source, n.pos, err)
	}
	if err := out.write("<tr class=\"row1\">\n"); err != nil {
		return at(r.source, n.pos, err)
	}
	l := &loop{length: int64(len(list)), cols: cols, col: 1, row: 1}
	err = r.within(func(scope map[string]any) error {
		scope["tablerowloop"] = l
		for _, v := range list {
			scope[n.name] = v
			if more, err := n.cell(r, out, l); err != nil || !more {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = out.write("</tr>\n")
	}
	return at(r.source, n.pos, err)
}

func (n *tableNode) cell(r *run, out *sink, l *loop) (more bool, err error) {
	if err := r.budget.step(1); err != nil {
		return false, err
	}
	if err := out.write("<td class=\"col" + str(l.col) + "\">"); err != nil {
		return false, err
	}
	if err := n.body.render(r, out); err != nil {
		return false, err
	}
	if err := out.write("</td>"); err != nil {
		return false, err
	}
	if r.interrupted() == breakLoop {
		return false, nil
	}
	if l.col == l.cols && l.index < l.length-1 {
		if err := out.write("</tr>\n<tr class=\"row" + str(l.row+1) + "\">"); err != nil {
			return false, err
		}
	}
	l.index++
	if l.col == l.cols {
		l.col, l.row = 1, l.row+1
	} else {
		l.col++
	}
	return true, nil
}

func (n *tableNode) part(r *run, over any) (list []any, cols int64, err error) {
	loose := func(e expression) (int64, error) {
		v, err := e.value(r)
		switch x := v.(type) {
		case float64:
			return int64(x), err
		case nil, string:
			return leadingInt(str(x)), err
		}
		if err == nil {
			return integer(v)
		}
		return 0, err
	}
	var from int64
	var limit *int64
	if n.offset != nil {
		if from, err = loose(n.offset); err != nil {
			return nil, 0, err
		}
	}
	if n.limit != nil {
		count, err := loose(n.limit)
		if err != nil {
			return nil, 0, err
		}
		limit = &count
	}
	if list, err = r.elements(over, from, limit); err != nil {
		return nil, 0, err
	}
	cols = int64(len(list))
	if n.cols != nil {
		cols, err = loose(n.cols)
	}
	return list, cols, err
}

func parseTableRow(p *parser, s stream, t token) (node, error) {
	e, err := p.each(t, func(s *scanner, e *each, name string) (err error) {
		if name == "cols" {
			e.cols, err = s.expression()
			return err
		}
		return s.part(e, name)
	})
	if err != nil {
		return nil, err
	}
	b, err := p.block(s, t)
	return &tableNode{e, b}, err
}

type interruptNode interrupt

func (n interruptNode) quiet() bool { return false }
func (n interruptNode) walk(*visit) {}

func (n interruptNode) render(r *run, _ *sink) error {
	r.stop = interrupt(n)
	return nil
}

func parseInterrupt(_ *parser, _ stream, t token) (node, error) {
	if strings.Trim(t.text, blanks) != "" {
		return nil, syntax("%s takes nothing", t.name)
	}
	if t.name == "break" {
		return interruptNode(breakLoop), nil
	}
	return interruptNode(continueLoop), nil
}
