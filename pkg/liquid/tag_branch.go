package liquid

// branch is a block with its condition; without one it is an else.
type branch struct {
	when *condition
	body *body
}

// ifNode is if and unless. They differ in their first branch only.
type ifNode struct {
	unless   bool
	branches []branch
}

func (n *ifNode) quiet() bool {
	for _, b := range n.branches {
		if !b.body.quiet() {
			return false
		}
	}
	return true
}

func (n *ifNode) walk(v *visit) {
	for _, b := range n.branches {
		b.when.walk(v)
		b.body.walk(v)
	}
}

func (n *ifNode) render(r *run, out *sink) error {
	for i, b := range n.branches {
		holds := b.when == nil
		if !holds {
			var err error
			if holds, err = b.when.holds(r); err != nil {
				return err
			}
		}
		if holds != (n.unless && i == 0) {
			return b.body.render(r, out)
		}
	}
	return nil
}

func parseIf(p *parser, s stream, t token) (node, error) {
	n := &ifNode{unless: t.name == "unless"}
	stop := func(name string) bool { return name == "else" || name == "elsif" || name == "end"+t.name }
	for head := t; ; {
		when, err := p.when(head)
		if err != nil {
			return nil, err
		}
		b, next, err := p.body(s, stop)
		if err != nil {
			return nil, err
		}
		n.branches = append(n.branches, branch{when, b})
		switch next.name {
		case "":
			return nil, unclosed(t)
		case "end" + t.name:
			bodies := make([]*body, len(n.branches))
			for i, b := range n.branches {
				bodies[i] = b.body
			}
			silence(bodies...)
			return n, nil
		}
		head = next
	}
}

// when reads a condition; what stands behind an else is not looked at, as in the reference.
func (p *parser) when(t token) (*condition, error) {
	if t.name == "else" {
		return nil, nil //nolint:nilnil // no condition
	}
	s, err := scan(p.source, t.text, t.body)
	if err != nil {
		return nil, err
	}
	return s.condition()
}

// caseNode compares one value with several. Every branch that fits is written, once for each value that fits;
// an else is written if nothing before it fitted.
type caseNode struct {
	value    expression
	branches []whens
	pos      int
}

type whens struct {
	values []expression // none is an else
	body   *body
}

func (n *caseNode) quiet() bool {
	for _, b := range n.branches {
		if !b.body.quiet() {
			return false
		}
	}
	return true
}

func (n *caseNode) walk(v *visit) {
	n.value.walk(v)
	for _, b := range n.branches {
		for _, e := range b.values {
			e.walk(v)
		}
		b.body.walk(v)
	}
}

func (n *caseNode) render(r *run, out *sink) error {
	value, err := n.value.value(r)
	if err != nil {
		return at(r.source, n.pos, err)
	}
	found := false
	for _, b := range n.branches {
		times := 0
		if b.values == nil && !found {
			times = 1
		}
		for _, e := range b.values {
			other, err := e.value(r)
			if err != nil {
				return at(r.source, n.pos, err)
			}
			same, err := equal(r, value, other)
			if err != nil {
				return at(r.source, n.pos, err)
			}
			if same {
				times, found = times+1, true
			}
		}
		for ; times > 0 && r.stop == goOn; times-- {
			if err := b.body.render(r, out); err != nil {
				return err
			}
		}
	}
	return nil
}

func parseCase(p *parser, s stream, t token) (node, error) {
	words, err := scan(p.source, t.text, t.body)
	if err != nil {
		return nil, err
	}
	n := &caseNode{pos: t.pos}
	if n.value, err = words.expression(); err != nil {
		return nil, err
	}
	if err := words.done(); err != nil {
		return nil, err
	}
	stop := func(name string) bool { return name == "when" || name == "else" || name == "endcase" }
	_, head, err := p.body(s, stop) // what stands before the first when is never written
	for err == nil && head.name != "endcase" {
		if head.name == "" {
			return nil, unclosed(t)
		}
		var b whens
		if head.name == "when" {
			if b.values, err = p.whenValues(head); err != nil {
				return nil, err
			}
		}
		if b.body, head, err = p.body(s, stop); err == nil {
			n.branches = append(n.branches, b)
		}
	}
	if err != nil {
		return nil, err
	}
	bodies := make([]*body, len(n.branches))
	for i, b := range n.branches {
		bodies[i] = b.body
	}
	silence(bodies...)
	return n, nil
}

// whenValues reads values between commas or or. What follows them is not looked at, as in the reference.
func (p *parser) whenValues(t token) ([]expression, error) {
	s, err := scan(p.source, t.text, t.body)
	if err != nil {
		return nil, err
	}
	var values []expression
	for {
		e, err := s.expression()
		if err != nil {
			return nil, err
		}
		values = append(values, e)
		if !s.is(punct, ",") && !s.is(identifier, "or") || s.peek().kind == end {
			return values, nil
		}
	}
}

// ifChangedNode writes its inside only if it is another text than the last time.
type ifChangedNode struct{ body *body }

func (n ifChangedNode) quiet() bool   { return n.body.quiet() }
func (n ifChangedNode) walk(v *visit) { n.body.walk(v) }

func (n ifChangedNode) render(r *run, out *sink) error {
	s, err := r.captured(n.body)
	if err != nil || s == r.changed {
		return err
	}
	r.changed = s
	return out.write(s)
}

func parseIfChanged(p *parser, s stream, t token) (node, error) {
	b, err := p.block(s, t)
	return ifChangedNode{b}, err
}
