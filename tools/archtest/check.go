package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Violation is one place that breaks a rule.
type Violation struct {
	// Position is the file and line.
	Position string
	// Why names the rule and what breaks it.
	Why string
}

// String is the violation as one line.
func (v Violation) String() string { return v.Position + ": " + v.Why }

// Check reads all Go files of a repository and returns what breaks the rules, in the order of the files.
// Generated files, testdata, hidden directories and modules below tools/pinned are left out.
func Check(repository fs.FS) ([]Violation, error) {
	c := checker{files: token.NewFileSet()}
	err := fs.WalkDir(repository, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if skipped(name) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		return c.file(repository, name)
	})
	return c.found, err
}

func skipped(dir string) bool {
	base := path.Base(dir)
	return dir != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules" ||
		dir == "tools/pinned" || dir == "third_party")
}

type checker struct {
	files *token.FileSet
	found []Violation
}

// source is one parsed file and where it stands.
type source struct {
	*ast.File
	dir   string
	name  string
	class class
	// test says that it is a _test.go file or part of a package of test helpers.
	test bool
}

func (c *checker) file(repository fs.FS, name string) error {
	text, err := fs.ReadFile(repository, name)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(c.files, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	if ast.IsGenerated(file) {
		return nil
	}
	s := source{File: file, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go")}
	s.class, s.name = classOf(s.dir)
	s.test = s.test || helperOfTests(s.dir)
	c.names(s)
	c.imports(s)
	c.selectors(s)
	return nil
}

func (c *checker) addf(at token.Pos, format string, args ...any) {
	p := c.files.Position(at)
	c.found = append(c.found, Violation{Position: fmt.Sprintf("%s:%d", p.Filename, p.Line), Why: fmt.Sprintf(format, args...)})
}

// helperOfTests says whether a directory holds helpers of tests: its name ends in "test". The proof
// packages and this package are products of their own.
func helperOfTests(dir string) bool {
	c, _ := classOf(dir)
	return strings.HasSuffix(path.Base(dir), "test") && c != proof && dir != "tools/archtest"
}

// names checks package names, initialisers, and that every directory below pkg/ has a class.
func (c *checker) names(s source) {
	if slices.Contains(forbiddenNames(), strings.TrimSuffix(s.File.Name.Name, "_test")) {
		c.addf(s.Package, "R7: %q says nothing about what is in a package", s.File.Name.Name)
	}
	if s.class == other && strings.HasPrefix(s.dir, "pkg/") {
		c.addf(s.Package, "R1: %s is in no class; add it to tools/archtest/rules.go", s.dir)
	}
	for _, d := range s.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			c.addf(f.Pos(), "R6: no init outside of generated code")
		}
	}
}

func (c *checker) imports(s source) {
	for _, spec := range s.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			c.addf(spec.Pos(), "import %s cannot be read", spec.Path.Value)
			continue
		}
		if spec.Name != nil && spec.Name.Name == "." {
			c.addf(spec.Pos(), "R7: a dot import hides where names come from")
		}
		if dir, ours := strings.CutPrefix(target, module); ours {
			c.ours(s, spec, dir)
			continue
		}
		if s.pure() && slices.ContainsFunc(coreForbidden(), func(f string) bool {
			return target == f || strings.HasSuffix(f, "/") && strings.HasPrefix(target, f)
		}) {
			c.addf(spec.Pos(), "R1: a core package imports %s", target)
		}
	}
}

// pure says whether the file has to be free of the world.
func (s source) pure() bool { return (s.class == core || s.class == shared) && !s.test }

// ours checks an import of one of our own packages. Tests may import what they test with, but a service's
// tests know no other service either.
func (c *checker) ours(s source, spec *ast.ImportSpec, dir string) {
	to, toName := classOf(dir)
	if helperOfTests(dir) && !s.test {
		c.addf(spec.Pos(), "%s is for tests only", dir)
	}
	if s.test && s.class != service {
		return
	}
	if why, ok := mayImport(s.class, to, s.name, toName); !ok {
		c.addf(spec.Pos(), "%s: %s imports %s", why, s.dir, dir)
	}
}

// selectors checks the uses of packages that are allowed in part only.
func (c *checker) selectors(s source) {
	names := importNames(s.File)
	process := s.File.Name.Name == "main" || s.dir == "pkg/run" || s.test
	ast.Inspect(s.File, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		id, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		pkg, used := names[id.Name], sel.Sel.Name
		switch {
		case s.pure() && pkg == "time" && slices.Contains(coreClock(), used):
			c.addf(sel.Pos(), "R1: a core package uses time.%s; time is an argument", used)
		case s.pure() && (pkg == "math/rand" || pkg == "math/rand/v2") && !slices.Contains(randomAllowed(), used):
			c.addf(sel.Pos(), "R1: a core package uses rand.%s; randomness is derived from an id", used)
		case !process && slices.Contains(processOnly()[pkg], used):
			c.addf(sel.Pos(), "R6: only main packages and pkg/run use %s.%s", path.Base(pkg), used)
		}
		return true
	})
}

// importNames maps the names that a file uses for packages to their paths, as far as the rules look at them.
func importNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(strings.TrimSuffix(target, "/v2"))
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = target
	}
	return names
}
