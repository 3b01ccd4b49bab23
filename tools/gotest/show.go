package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go test -json`, see `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

type name struct{ pkg, test string }

// report keeps the output of each test until its end tells whether it is of interest.
type report struct {
	out     *bufio.Writer
	pending map[name][]string
	skipped []string
}

// show copies the output of packages and of failed tests as they end, then lists the skipped tests.
func show(in io.Reader, out io.Writer) error {
	r := &report{out: bufio.NewWriter(out), pending: map[name][]string{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			if err := r.line(line); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read test events: %w", err)
		}
	}
	if len(r.skipped) > 0 {
		r.print("\nNOT TESTED:\n")
		slices.Sort(r.skipped)
		for _, s := range r.skipped {
			r.print("  " + s + "\n")
		}
	}
	return r.out.Flush()
}

func (r *report) print(s string) { _, _ = r.out.WriteString(s) } // Flush reports the error

func (r *report) line(line []byte) error {
	var e event
	if json.Unmarshal(line, &e) != nil {
		r.print(string(line)) // go itself, not a test
		return r.out.Flush()
	}
	n := name{e.Package, e.Test}
	switch {
	case e.Action == "build-output":
		r.print(e.Output)
	case e.Action == "output" && e.Test == "":
		if e.Output != "PASS\n" {
			r.print(e.Output)
		}
	case e.Action == "output":
		r.pending[n] = append(r.pending[n], e.Output)
	case e.Action == "fail" && e.Test == "":
		r.rest(e.Package)
	case e.Action == "fail":
		r.print(strings.Join(r.pending[n], ""))
		delete(r.pending, n)
	case e.Action == "skip" && e.Test != "":
		r.skipped = append(r.skipped, e.Package+"."+e.Test+": "+reason(r.pending[n]))
		delete(r.pending, n)
	case e.Action == "pass":
		delete(r.pending, n)
	}
	return r.out.Flush()
}

// rest prints what the tests of a package wrote that never ended: it panicked, or took too long.
func (r *report) rest(pkg string) {
	var names []name
	for n := range r.pending {
		if n.pkg == pkg {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b name) int { return strings.Compare(a.test, b.test) })
	for _, n := range names {
		r.print(strings.Join(r.pending[n], ""))
		delete(r.pending, n)
	}
}

// reason is what a skipped test said, without what the testing package says around it.
func reason(output []string) string {
	var said []string
	for line := range strings.SplitSeq(strings.Join(output, ""), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		said = append(said, line)
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}
