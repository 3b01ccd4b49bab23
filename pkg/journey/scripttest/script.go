// Package scripttest runs test scripts that a reviewer can read: a command with its input, a line of
// dashes, and the trace that the command leaves. Only tests import it.
package scripttest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Command is one command of a script.
type Command struct {
	// Name is the first word.
	Name string
	// Args are the words after it that have no "=".
	Args []string
	// Values are the words of the form name=value, Names their order.
	Values map[string]string
	Names  []string
	// Input is the lines between the command and the dashes.
	Input string
}

// Has says whether an argument is there.
func (c Command) Has(arg string) bool {
	return slices.Contains(c.Args, arg)
}

// Run runs every script that matches the pattern through a runner of its own and compares the traces; with
// update it writes them into the scripts instead.
func Run(t *testing.T, pattern string, update bool, runner func(t *testing.T) func(Command) string) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("find scripts %s: %d found, %v", pattern, len(paths), err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) { script(t, path, update, runner(t)) })
	}
}

func script(t *testing.T, path string, update bool, run func(Command) string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read script: %v", err)
	}
	var out strings.Builder
	for i, block := range strings.Split(strings.TrimRight(string(raw), "\n"), "\n\n") {
		if i > 0 {
			out.WriteString("\n\n")
		}
		head, want, ok := strings.Cut(block, "\n----")
		if !ok {
			out.WriteString(block) // a comment
			continue
		}
		got := strings.TrimRight(run(parse(head)), "\n")
		if want = strings.TrimPrefix(want, "\n"); got != want && !update {
			t.Errorf("%s:\ngot:\n%s\nwant:\n%s", head, got, want)
		}
		out.WriteString(head + "\n----")
		if got != "" {
			out.WriteString("\n" + got)
		}
	}
	if update {
		if err := os.WriteFile(path, []byte(out.String()+"\n"), 0o600); err != nil {
			t.Fatalf("write script: %v", err)
		}
	}
}

func parse(head string) Command {
	var lines []string
	for line := range strings.SplitSeq(head, "\n") {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	c := Command{Values: map[string]string{}, Input: strings.Join(lines[1:], "\n")}
	for i, word := range strings.Fields(lines[0]) {
		name, value, ok := strings.Cut(word, "=")
		switch {
		case i == 0:
			c.Name = word
		case ok:
			c.Values[name] = value
			c.Names = append(c.Names, name)
		default:
			c.Args = append(c.Args, word)
		}
	}
	return c
}
