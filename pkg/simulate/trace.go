package simulate

import "fmt"

// trace is a hash over everything that happened, and its lines if somebody wants them.
type trace struct {
	hash       uint64
	operations uint64
	line       func(string)
}

func newTrace(line func(string)) trace { return trace{hash: 14695981039346656037, line: line} }

// mix adds a number to the hash.
func (t *trace) mix(n uint64) {
	t.hash ^= n
	t.hash *= 0x9e3779b97f4a7c15
	t.hash ^= t.hash >> 29
}

// text adds a string to the hash, by FNV.
func (t *trace) text(s string) {
	h := t.hash
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	t.hash = h
}

// step notes a scheduling choice.
func (t *trace) step(w *World, co *coroutine) {
	t.mix(co.number)
	t.mix(uint64(w.now)) //nolint:gosec // not negative
	if t.line != nil {
		t.line(fmt.Sprintf("%d %s %s of %s", w.step, w.Elapsed(), co.name(), co.process.node.name))
	}
}

// note notes something that happens to a node.
func (w *World) note(what, name string, n int) {
	w.trace.text(what)
	w.trace.text(name)
	w.trace.mix(uint64(n)) //nolint:gosec // any number will do
	if w.trace.line != nil {
		w.trace.line(fmt.Sprintf("  %s %s %d", what, name, n))
	}
}

// operation notes a port operation.
func (w *World) operation(p *Process, o operation) {
	w.trace.operations++
	w.trace.text(o.name)
	w.trace.text(o.on)
	w.trace.mix(uint64(o.size)) //nolint:gosec // not negative
	if w.trace.line != nil {
		w.trace.line(fmt.Sprintf("  %s: %s %s:%s %d bytes", p.Name(), o.name, o.class, o.on, o.size))
	}
}

// Diverge runs a world twice and returns the first lines of the two traces that differ, with their number; 0
// if none does. run makes the world with that Config.Trace and runs it.
func Diverge(run func(trace func(line string))) (number int, first, second string) {
	var lines [2][]string
	for i := range lines {
		run(func(line string) { lines[i] = append(lines[i], line) })
	}
	for n := range max(len(lines[0]), len(lines[1])) {
		a, b := lineAt(lines[0], n), lineAt(lines[1], n)
		if a != b {
			return n + 1, a, b
		}
	}
	return 0, "", ""
}

func lineAt(lines []string, n int) string {
	if n >= len(lines) {
		return "(the end)"
	}
	return lines[n]
}
