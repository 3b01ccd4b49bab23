// Package definitiontest reads test cases that are directories of definitions written in one text file:
// a comment, then sections that begin with "-- name --". The section "want" is what is expected.
package definitiontest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const want = "want"

// Archive is one case.
type Archive struct {
	path    string
	comment string
	names   []string
	files   map[string]string
}

// Each runs a subtest for every case that matches the pattern; none is a failure.
func Each(t *testing.T, pattern string, run func(t *testing.T, a Archive)) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases at %s: %v", pattern, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), func(t *testing.T) {
			run(t, Read(t, path))
		})
	}
}

// Read reads one case.
func Read(t testing.TB, path string) Archive {
	t.Helper()
	data, err := os.ReadFile(path) //nolint:gosec // a test's own data
	if err != nil {
		t.Fatal(err)
	}
	a := Archive{path: path, files: map[string]string{}}
	current := ""
	for line := range strings.Lines(string(data)) {
		section, opened := strings.CutPrefix(strings.TrimRight(line, "\n"), "-- ")
		section, closed := strings.CutSuffix(section, " --")
		switch {
		case opened && closed:
			current = section
			a.names = append(a.names, current)
			a.files[current] = ""
		case current == "":
			a.comment += line
		default:
			a.files[current] += line
		}
	}
	return a
}

// FS is the case's directory.
func (a Archive) FS() fs.FS {
	files := map[string]string{}
	for name, text := range a.files {
		if name != want {
			files[name] = text
		}
	}
	return FS(files)
}

// FS is a directory of files with these contents.
func FS(files map[string]string) fs.FS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

// Golden compares got with the section "want"; with update it writes it there instead.
func (a Archive) Golden(t *testing.T, update *bool, got string) {
	t.Helper()
	if !*update {
		if diff := cmp.Diff(a.files[want], got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		return
	}
	var b bytes.Buffer
	b.WriteString(a.comment)
	for _, name := range a.names {
		if name != want {
			b.WriteString("-- " + name + " --\n" + a.files[name])
		}
	}
	b.WriteString("-- " + want + " --\n" + got)
	if err := os.WriteFile(a.path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
