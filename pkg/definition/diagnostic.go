package definition

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

// Severity says whether a diagnostic stops a directory from being applied.
type Severity int

// The severities.
const (
	// Error stops it.
	Error Severity = iota
	// Warning does not.
	Warning
)

// Diagnostic is something wrong at a place in a directory.
type Diagnostic struct {
	// File is relative to the directory; empty if it concerns the directory as a whole.
	File string
	// Line and Col count from 1; 0 means unknown.
	Line, Col int
	// What is wrong.
	What string
	// Why it is wrong, or how to mend it; may be empty.
	Why string
	// Severity is Error or Warning.
	Severity Severity
	// Kind and Name of the resource it is about, and Path inside it; empty if it is about none.
	Kind, Name, Path string
	// inText is the place in the text at Path; line 0 if Path is the place.
	inText place
}

// String is "file:line:col: what (why)"; what begins with "warning: " if it is one.
func (d Diagnostic) String() string {
	var b strings.Builder
	if d.File != "" {
		b.WriteString(d.File)
		for _, n := range []int{d.Line, d.Col} {
			if n == 0 {
				break
			}
			b.WriteString(":" + strconv.Itoa(n))
		}
		b.WriteString(": ")
	}
	if d.Severity == Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(d.What)
	if d.Why != "" {
		b.WriteString(" (" + d.Why + ")")
	}
	return b.String()
}

// About makes a diagnostic of a problem in a resource, placed where the resource begins. Source.Place
// makes the place exact.
func About(r *definitionv1.Resource, p Problem, s Severity) Diagnostic {
	file, line := splitPosition(r.GetPosition())
	d := Diagnostic{
		File: file, Line: line, What: p.What, Why: p.Why, Severity: s,
		Kind: KindOf(r), Name: r.GetMetadata().GetName(), Path: p.Path, inText: place{line: p.Line, col: p.Col},
	}
	if p.Path != "" {
		d.What = p.Path + ": " + p.What
	}
	return d
}

// Sort returns the diagnostics in the order of their places, each once.
func Sort(list []Diagnostic) []Diagnostic {
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.What, b.What), cmp.Compare(a.Why, b.Why))
	})
	return slices.CompactFunc(out, func(a, b Diagnostic) bool { return a.String() == b.String() })
}

// HasErrors says whether one of them is an error.
func HasErrors(list []Diagnostic) bool {
	return slices.ContainsFunc(list, func(d Diagnostic) bool { return d.Severity == Error })
}

func splitPosition(position string) (file string, line int) {
	i := strings.LastIndexByte(position, ':')
	if i < 0 {
		return position, 0
	}
	line, err := strconv.Atoi(position[i+1:])
	if err != nil {
		return position, 0
	}
	return position[:i], line
}

func position(file string, line int) string { return fmt.Sprintf("%s:%d", file, line) }
