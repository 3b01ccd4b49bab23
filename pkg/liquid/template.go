package liquid

import (
	"slices"
	"strings"
	"time"
)

// Template is a parsed template. It never changes, so any number of goroutines may render it at once.
type Template struct {
	source   string
	body     *body
	partials map[string]*Template
}

// Parse reads a template. partials are the templates that include and render may name; without them these
// tags are refused. An error is an *Error that wraps ErrSyntax, the first one in the source.
func Parse(source string, partials map[string]string) (*Template, error) {
	t, err := parse(source, partials != nil)
	if err != nil || partials == nil {
		return t, err
	}
	t.partials = make(map[string]*Template, len(partials))
	for name, text := range partials {
		p, err := parse(text, true)
		if err != nil {
			continue // it is an error only where it is used
		}
		p.partials = t.partials
		t.partials[name] = p
	}
	return t, nil
}

func parse(source string, partials bool) (*Template, error) {
	p := &parser{source: source, partials: partials}
	b, _, err := p.body(&templateStream{source: source}, nil)
	if err != nil {
		return nil, at(source, 0, err)
	}
	return &Template{source: source, body: b}, nil
}

// At is what a rendering knows beside its variables.
type At struct {
	// Now is what "now" means in a date.
	Now time.Time
	// Zone is where dates without a zone are, and in which dates are written; UTC if nil.
	Zone *time.Location
	// Limits bounds the rendering.
	Limits Limits
}

// Render fills the template in. vars may hold nil, bool, whole numbers, floats, strings, time.Time, []any,
// []string, map[string]any and *Map; everything else counts as nil. vars is copied and stays as it was.
// A variable that is not there renders as nothing and is false. Errors are an *Error that wraps ErrRender,
// ErrLimit or ErrAbort.
func (t *Template) Render(vars any, now At) (string, error) {
	globals, ok := own(vars).(*Map)
	if !ok {
		globals = &Map{}
	}
	r := newRun(t, globals, newBudget(now.Limits))
	r.now, r.zone = now.Now, now.Zone
	if r.zone == nil {
		r.zone = time.UTC
	}
	out := &sink{budget: r.budget}
	if err := r.render(t, out); err != nil {
		return "", err
	}
	return out.b.String(), nil
}

// run is one rendering.
type run struct {
	now      time.Time
	zone     *time.Location
	budget   *budget
	source   string // of the template being rendered, for places
	partials map[string]*Template
	globals  *Map
	// scopes are the names of loops and partials, the innermost last. assign always sets in the first.
	scopes   []map[string]any
	counters map[string]int64
	cycles   map[string]int
	offsets  map[string]int64
	loops    []*loop
	changed  string // what ifchanged wrote last
	stop     interrupt
	depth    int
	isolated bool // in a render, where include is refused
}

type interrupt int

const (
	goOn interrupt = iota
	breakLoop
	continueLoop
)

func newRun(t *Template, globals *Map, b *budget) *run {
	return &run{
		budget: b, source: t.source, partials: t.partials, globals: globals, scopes: []map[string]any{{}},
		counters: map[string]int64{}, cycles: map[string]int{}, offsets: map[string]int64{},
	}
}

func (r *run) render(t *Template, out *sink) error {
	r.depth++
	if r.depth > maxNesting {
		return over("%d templates within each other", maxNesting)
	}
	source := r.source
	r.source = t.source
	err := t.body.render(r, out)
	if err != nil {
		err = at(r.source, 0, err)
	}
	r.source = source
	r.depth--
	return err
}

func (r *run) lookup(name string) any {
	for _, scope := range slices.Backward(r.scopes) {
		if v, ok := scope[name]; ok {
			return v
		}
	}
	if n, ok := r.counters[name]; ok {
		return n
	}
	return r.globals.values[name]
}

// within runs do with a scope of its own.
func (r *run) within(do func(scope map[string]any) error) error {
	scope := map[string]any{}
	r.scopes = append(r.scopes, scope)
	err := do(scope)
	r.scopes = r.scopes[:len(r.scopes)-1]
	return err
}

// sink is where a rendering writes: the result, or a text that becomes a value.
type sink struct {
	budget *budget
	value  bool // counts as memory, not as output
	b      strings.Builder
}

func (s *sink) write(text string) error {
	if s.value {
		if err := s.budget.alloc(len(text)); err != nil {
			return err
		}
	} else {
		if len(text) > s.budget.left.Output {
			return over("%d bytes of output", s.budget.limits.Output)
		}
		s.budget.left.Output -= len(text)
		if err := s.budget.work(len(text)); err != nil {
			return err
		}
	}
	s.b.WriteString(text)
	return nil
}

// captured renders a body into a text.
func (r *run) captured(b *body) (string, error) {
	out := &sink{budget: r.budget, value: true}
	err := b.render(r, out)
	return out.b.String(), err
}
