package liquid

// filtered is an expression and the filters behind it.
type filtered struct {
	base    expression
	filters []call
}

type call struct {
	name  string
	do    filter
	args  []expression
	named []namedArgument
	pos   int
}

type namedArgument struct {
	name  string
	value expression
}

func (f *filtered) key() string { return f.base.key() }

func (f *filtered) walk(v *visit) {
	guarded := v.guarded
	for _, c := range f.filters {
		v.guarded = v.guarded || c.name == "default"
	}
	f.base.walk(v)
	v.guarded = guarded
	for _, c := range f.filters {
		for _, a := range c.args {
			a.walk(v)
		}
		for _, a := range c.named {
			a.value.walk(v)
		}
	}
}

func (f *filtered) value(r *run) (any, error) {
	v, err := f.base.value(r)
	if err != nil {
		return nil, err
	}
	v = plain(v)
	for _, c := range f.filters {
		if v, err = c.apply(r, v); err != nil {
			return nil, at(r.source, c.pos, err)
		}
	}
	return v, nil
}

func (c call) apply(r *run, in any) (any, error) {
	if err := r.budget.step(1); err != nil {
		return nil, err
	}
	args := arguments{run: r}
	for _, a := range c.args {
		v, err := a.value(r)
		if err != nil {
			return nil, err
		}
		args.list = append(args.list, plain(v))
	}
	for _, a := range c.named {
		v, err := a.value.value(r)
		if err != nil {
			return nil, err
		}
		args.allowFalse = truthy(v)
	}
	return c.do.apply(args, in)
}

// filtered parses the inside of an output, an assignment or an echo.
func (s *scanner) filtered() (*filtered, error) {
	f := &filtered{base: literal{}}
	if s.peek().kind == end {
		return f, nil
	}
	base, err := s.expression()
	if err != nil {
		return nil, err
	}
	f.base = base
	known := filters()
	for s.is(punct, "|") {
		c, err := s.call(known)
		if err != nil {
			return nil, err
		}
		f.filters = append(f.filters, c)
	}
	return f, s.done()
}

func (s *scanner) call(known map[string]filter) (call, error) {
	name, err := s.want(identifier, "the name of a filter")
	if err != nil {
		return call{}, err
	}
	c := call{name: name.text, pos: name.pos}
	f, ok := known[name.text]
	if !ok {
		return c, at(s.source, name.pos, syntax("there is no filter %s%s", name.text, suggestion(name.text, known)))
	}
	c.do = f
	if s.is(punct, ":") {
		if err := s.arguments(&c); err != nil {
			return c, err
		}
	}
	if n := len(c.args); n < f.least || n > f.most {
		return c, at(s.source, name.pos, syntax("the filter %s takes %s, and %d are given", name.text, f.counts(), n))
	}
	return c, nil
}

func (s *scanner) arguments(c *call) error {
	for {
		name := ""
		if l := s.peek(); l.kind == identifier && s.looksAt(1, ":") {
			name = l.text
			if name != "allow_false" || c.name != "default" {
				return at(s.source, l.pos, syntax("the filter %s has no argument called %s", c.name, name))
			}
			s.i += 2
		}
		v, err := s.expression()
		if err != nil {
			return err
		}
		if name != "" {
			c.named = append(c.named, namedArgument{name, v})
		} else {
			c.args = append(c.args, v)
		}
		if !s.is(punct, ",") {
			return nil
		}
	}
}
