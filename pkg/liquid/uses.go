package liquid

import "slices"

// Use is one place where a template reads a variable that it did not set itself.
type Use struct {
	// Path is the name and the names behind it as far as they stand in the template: event.items[0].name
	// is event, items. It is empty if the name itself is worked out.
	Path []string
	// Whole reports whether the template may read everything below Path.
	Whole bool
	// Guarded reports whether a filter default says what stands there if the variable is not set.
	Guarded bool
	// Line and Column count from 1.
	Line, Column int
}

// Uses lists what the template reads, in the order of the source.
func (t *Template) Uses() []Use {
	v := &visit{source: t.source, assigned: map[string]bool{}}
	t.body.walk(v) // finds what is assigned
	v.uses = nil
	t.body.walk(v)
	return v.uses
}

// visit is a walk over a template.
type visit struct {
	source   string
	assigned map[string]bool
	local    []string // names of loops around
	guarded  bool
	uses     []Use
}

// set notes a name that the template sets. It counts for the whole template: which branch ran is known when
// rendering only.
func (v *visit) set(name string) { v.assigned[name] = true }

func (v *visit) within(names []string, do func()) {
	before := v.local
	v.local = append(slices.Clip(before), names...)
	do()
	v.local = before
}

func (x *variable) walk(v *visit) {
	if x.by != nil {
		x.by.walk(v)
	}
	for _, l := range x.path {
		if l.by != nil {
			guarded := v.guarded
			v.guarded = false
			l.by.walk(v)
			v.guarded = guarded
		}
	}
	if x.by == nil && (v.assigned[x.name] || slices.Contains(v.local, x.name)) {
		return
	}
	line, column := place(v.source, x.pos)
	u := Use{Guarded: v.guarded, Line: line, Column: column}
	if x.by == nil {
		u.Path = append(u.Path, x.name)
		for _, l := range x.path {
			name := l.name
			if t, ok := l.by.(literal); ok {
				name, _ = t.v.(string)
			}
			if name == "" {
				break
			}
			u.Path = append(u.Path, name)
		}
	}
	u.Whole = len(u.Path) < 1+len(x.path) || x.by != nil || len(x.path) == 0
	v.uses = append(v.uses, u)
}
