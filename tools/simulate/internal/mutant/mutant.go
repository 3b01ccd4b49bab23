// Package mutant plants bugs in the production code: a mutant is a small text that says which lines of which
// file become which others, and which promise that breaks. A build with an overlay compiles it without touching
// the source, so the production code itself holds nothing of it.
package mutant

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Mutant is one planted bug.
type Mutant struct {
	// Name of the mutant.
	Name string
	// Breaks says what is wrong with it.
	Breaks string
	// Rules as which a simulated world may find it: those whose breach is a consequence of the bug. Empty if a
	// test finds it.
	Rules []string
	// Test finds it where no simulated world can see it; else it is zero.
	Test Test
	// Changes in the order of the text; all are made.
	Changes []Change
}

// Test is a test of the usual suite.
type Test struct {
	// Package is a path from the root of the repository, Name the function's.
	Package, Name string
}

// Change is one piece of a file that becomes another.
type Change struct {
	// File is a path from the root of the repository.
	File string
	// Old must stand in the file exactly once; New takes its place.
	Old, New string
}

const (
	foundAs  = "found as:"
	foundBy  = "found by: go test ./"
	fileLine = "--- file "
	oldLine  = "--- old"
	newLine  = "--- new"
)

// Parse reads a mutant: a line that says what it breaks; a line that says how it is found, "found as: RULE, RULE"
// or "found by: go test ./PACKAGE -run NAME"; then, once or several times, "--- file PATH", "--- old", the lines
// that are there, "--- new", the lines that take their place.
func Parse(name, text string) (Mutant, error) {
	m := Mutant{Name: name}
	head, rest, _ := strings.Cut(text, fileLine)
	breaks, how, _ := strings.Cut(strings.TrimSpace(head), "\n")
	m.Breaks = strings.TrimSpace(breaks)
	if err := m.found(strings.TrimSpace(how)); err != nil {
		return Mutant{}, err
	}
	for part := range strings.SplitSeq(rest, fileLine) {
		if strings.TrimSpace(part) == "" {
			continue
		}
		file, body, _ := strings.Cut(part, "\n")
		before, after, ok := strings.Cut(body, newLine+"\n")
		_, old, begun := strings.Cut(before, oldLine+"\n")
		if !ok || !begun || strings.TrimSpace(old) == "" {
			return Mutant{}, fmt.Errorf("mutant %s: %s: want %q, lines, %q, lines", name, file, oldLine, newLine)
		}
		m.Changes = append(m.Changes, Change{File: strings.TrimSpace(file), Old: old, New: after})
	}
	if m.Breaks == "" || len(m.Changes) == 0 {
		return Mutant{}, fmt.Errorf("mutant %s: says nothing or changes nothing", name)
	}
	return m, nil
}

// found reads the line that says how it is found.
func (m *Mutant) found(how string) error {
	if rules, ok := strings.CutPrefix(how, foundAs); ok {
		for rule := range strings.SplitSeq(rules, ",") {
			m.Rules = append(m.Rules, strings.TrimSpace(rule))
		}
	} else if test, ok := strings.CutPrefix(how, foundBy); ok {
		m.Test.Package, m.Test.Name, _ = strings.Cut(test, " -run ")
	}
	if slices.Contains(m.Rules, "") || len(m.Rules) == 0 && m.Test.Name == "" {
		return fmt.Errorf("mutant %s: its second line is %q, want %q and rules, or %q with a package and -run with a test", m.Name, how, foundAs, foundBy)
	}
	return nil
}

// Read reads all mutants of a directory, by name.
func Read(dir fs.FS) ([]Mutant, error) {
	names, err := fs.Glob(dir, "*.mutant")
	if err != nil {
		return nil, fmt.Errorf("list mutants: %w", err)
	}
	slices.Sort(names)
	var all []Mutant
	for _, name := range names {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, fmt.Errorf("read mutant: %w", err)
		}
		m, err := Parse(strings.TrimSuffix(path.Base(name), ".mutant"), string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// Apply returns the text of every file that the mutant changes, by its path from the root of the repository.
func (m *Mutant) Apply(root string) (map[string]string, error) {
	changed := map[string]string{}
	for _, c := range m.Changes {
		text, ok := changed[c.File]
		if !ok {
			data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(c.File)))
			if err != nil {
				return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
			}
			text = string(data)
		}
		if n := strings.Count(text, c.Old); n != 1 {
			return nil, fmt.Errorf("mutant %s: its lines stand %d times in %s, want once; bring it up to date with the code", m.Name, n, c.File)
		}
		changed[c.File] = strings.Replace(text, c.Old, c.New, 1)
	}
	return changed, nil
}

// Overlay writes what go build -overlay needs to compile a repository with the mutant in it, into dir, and
// returns the file to name there. All of it is named by absolute paths, so root and dir must be.
func (m *Mutant) Overlay(root, dir string) (string, error) {
	changed, err := m.Apply(root)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	var errs []error
	for file, text := range changed {
		to := filepath.Join(dir, fmt.Sprintf("%s-%d.go", m.Name, len(replace)))
		errs = append(errs, os.WriteFile(to, []byte(text), 0o600))
		replace[filepath.Join(root, filepath.FromSlash(file))] = to
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	overlay := filepath.Join(dir, m.Name+".json")
	errs = append(errs, err, os.WriteFile(overlay, data, 0o600))
	return overlay, errors.Join(errs...)
}
