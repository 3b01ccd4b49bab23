package definition

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The bounds of a directory.
const (
	// MaxFileSize is the greatest size of one file, template files included.
	MaxFileSize = 256 << 10
	// MaxFiles is how many files a directory may have.
	MaxFiles = 2000
	// MaxDocuments is how many documents a file may have.
	MaxDocuments = 500
	// MaxDepth is how deep a document may nest.
	MaxDepth = 32

	maxDiagnostics = 1000
)

// Load reads all *.yaml and *.yml files below the root of fsys; directories whose name begins with a dot
// and node_modules are left out. It returns everything that is wrong, in order. The source is never nil;
// it makes a bundle only if there is no error.
func Load(fsys fs.FS) (*Source, []Diagnostic) {
	l := &loader{fsys: fsys, source: newSource()}
	files := l.files()
	for _, file := range files {
		l.file(file)
	}
	if len(files) == 0 && len(l.diagnostics) == 0 {
		l.add(Diagnostic{What: "no definitions", Why: "there is no .yaml file here"})
	}
	return l.source, Sort(l.diagnostics)
}

type loader struct {
	fsys        fs.FS
	source      *Source
	diagnostics []Diagnostic
}

func (l *loader) add(d Diagnostic) {
	if len(l.diagnostics) < maxDiagnostics {
		l.diagnostics = append(l.diagnostics, d)
	}
}

func (l *loader) files() []string {
	var files []string
	err := fs.WalkDir(l.fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			l.add(Diagnostic{File: name, What: "cannot be read", Why: cause(err)})
			return nil
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules"):
			return fs.SkipDir
		case entry.IsDir() || strings.HasPrefix(entry.Name(), "."):
			return nil
		case path.Ext(name) == ".yaml" || path.Ext(name) == ".yml":
			if files = append(files, name); len(files) > MaxFiles {
				return fmt.Errorf("more than %d files", MaxFiles)
			}
		}
		return nil
	})
	if err != nil {
		l.add(Diagnostic{What: "the directory cannot be read", Why: cause(err)})
		return nil
	}
	slices.Sort(files)
	return files
}

func (l *loader) file(name string) {
	data, err := readFile(l.fsys, name)
	if err != nil {
		l.add(Diagnostic{File: name, What: "cannot be read", Why: cause(err)})
		return
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for n := 0; ; n++ {
		var node yaml.Node
		err := dec.Decode(&node)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			l.add(syntaxDiagnostic(name, data, err))
			return
		}
		if n == MaxDocuments {
			l.add(Diagnostic{File: name, Line: node.Line, Col: node.Column, What: "too many documents", Why: fmt.Sprintf("%d are allowed in a file", MaxDocuments)})
			return
		}
		if node.Kind == yaml.DocumentNode && len(node.Content) == 1 && !isNull(node.Content[0]) {
			for _, root := range l.divide(name, node.Content[0]) {
				l.document(name, root)
			}
		}
	}
}

// readFile reads a file of bounded size.
func readFile(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFileSize {
		return nil, fmt.Errorf("it is larger than %d KiB", MaxFileSize>>10)
	}
	return data, nil
}

// cause is an error without the path, which stands before it anyway.
func cause(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	return err.Error()
}

func syntaxDiagnostic(file string, data []byte, err error) Diagnostic {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	d := Diagnostic{File: file, Line: 1, Col: 1, What: "not valid YAML", Why: message}
	if m := regexp.MustCompile(`^line (\d+): (?s:(.*))$`).FindStringSubmatch(message); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			d.Line, d.Why = line, m[2]
		}
	}
	if line, written := wrongDivider(data); line > 0 {
		d.Line, d.What, d.Why = line, fmt.Sprintf("%q does not divide documents", written), "write --- alone at the beginning of the line"
	}
	return d
}
