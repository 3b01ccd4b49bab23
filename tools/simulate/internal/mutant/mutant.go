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
	// Changes in the order of the text; all are made.
	Changes []Change
}

// Change is one piece of a file that becomes another.
type Change struct {
	// File is a path from the root of the repository.
	File string
	// Old must stand in the file exactly once; New takes its place.
	Old, New string
}

const (
	fileLine = "--- file "
	oldLine  = "--- old"
	newLine  = "--- new"
)

// Parse reads a mutant: a first line that says what it breaks, then, once or several times, "--- file PATH",
// "--- old", the lines that are there, "--- new", the lines that take their place.
func Parse(name, text string) (Mutant, error) {
	m := Mutant{Name: name}
	breaks, rest, _ := strings.Cut(text, "\n")
	m.Breaks = strings.TrimSpace(breaks)
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

// Overlay writes what go build -overlay needs to compile a repository with the mutant in it, into dir, and
// returns the file to name there.
func (m Mutant) Overlay(root, dir string) (string, error) {
	changed := map[string]string{}
	var order []string
	for _, c := range m.Changes {
		text, ok := changed[c.File]
		if !ok {
			data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(c.File)))
			if err != nil {
				return "", fmt.Errorf("mutant %s: %w", m.Name, err)
			}
			text = string(data)
			order = append(order, c.File)
		}
		if n := strings.Count(text, c.Old); n != 1 {
			return "", fmt.Errorf("mutant %s: its lines stand %d times in %s, want once; bring it up to date with the code", m.Name, n, c.File)
		}
		changed[c.File] = strings.Replace(text, c.Old, c.New, 1)
	}
	replace := map[string]string{}
	var errs []error
	for n, file := range order {
		to := filepath.Join(dir, fmt.Sprintf("%s-%d.go", m.Name, n))
		errs = append(errs, os.WriteFile(to, []byte(changed[file]), 0o600))
		replace[filepath.Join(root, filepath.FromSlash(file))] = to
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	overlay := filepath.Join(dir, m.Name+".json")
	errs = append(errs, err, os.WriteFile(overlay, data, 0o600))
	return overlay, errors.Join(errs...)
}
