package definition

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

// Source is a directory as it was read: the resources with their places.
type Source struct {
	resources map[[2]string]*resource
}

func newSource() *Source { return &Source{resources: map[[2]string]*resource{}} }

func (s *Source) add(l *loader, r *resource) {
	key := [2]string{r.kind, r.message.GetMetadata().GetName()}
	first, twice := s.resources[key]
	if !twice {
		s.resources[key] = r
		return
	}
	at := r.find("metadata.name")
	l.add(Diagnostic{
		File: r.file, Line: at.line, Col: at.col, Kind: key[0], Name: key[1], Path: "metadata.name",
		What: "metadata.name: there is another " + key[0] + " " + key[1], Why: "the first one is at " + position(first.file, first.find("metadata.name").line),
	})
	first.broken = true
}

// Bundle returns the resources in canonical order with their revision: equal directories give equal
// bytes. It may only be applied if Load reported no error.
func (s *Source) Bundle() *definitionv1.Bundle {
	b := &definitionv1.Bundle{}
	for _, r := range s.resources {
		b.Resources = append(b.Resources, r.message.CloneVT())
	}
	slices.SortFunc(b.Resources, func(x, y *definitionv1.Resource) int {
		return cmp.Or(
			cmp.Compare(KindOf(x), KindOf(y)),
			cmp.Compare(x.GetMetadata().GetName(), y.GetMetadata().GetName()))
	})
	b.Revision = Revision(b)
	return b
}

// Revision is the first 12 hex digits of the SHA-256 of the bundle's canonical bytes without a revision.
func Revision(b *definitionv1.Bundle) string {
	sum := sha256.Sum256(marshal(&definitionv1.Bundle{Resources: b.GetResources()}))
	return hex.EncodeToString(sum[:6])
}

// Marshal returns the canonical bytes of a bundle, as they are stored.
func Marshal(b *definitionv1.Bundle) []byte { return marshal(b) }

func marshal(b *definitionv1.Bundle) []byte {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(b)
	if err != nil {
		panic("marshal bundle: " + err.Error()) // only text that is not UTF-8 can do this, and Load refuses it
	}
	return data
}

// Locate returns where a path inside a resource stands; the nearest enclosing place if the path itself is
// not written. For a resource that is not of this source it returns the resource's own position.
func (s *Source) Locate(at string, r *definitionv1.Resource) (file string, line, col int) {
	known, ok := s.resources[[2]string{KindOf(r), r.GetMetadata().GetName()}]
	if !ok {
		file, line = splitPosition(r.GetPosition())
		return file, line, 0
	}
	p := known.find(at)
	return known.file, p.line, p.col
}

// Place gives diagnostics about this source's resources their exact places, and leaves out those about
// resources in which Load found errors itself: what follows from these would only confuse.
func (s *Source) Place(list []Diagnostic) []Diagnostic {
	var out []Diagnostic
	for _, d := range list {
		r, ok := s.resources[[2]string{d.Kind, d.Name}]
		if ok && r.broken {
			continue
		}
		if ok {
			d.File, d.Line, d.Col = r.place(d)
		}
		out = append(out, d)
	}
	return Sort(out)
}

// place is where a diagnostic of the resource is to be shown. What is wrong inside of a template is shown in the
// template's file or, as far as YAML lets it be known, at its line among the definitions.
func (r *resource) place(d Diagnostic) (file string, line, col int) {
	p := r.find(d.Path)
	in := d.inText
	if in.line == 0 {
		return r.file, p.line, p.col
	}
	if treatment, ok := strings.CutSuffix(d.Path, ".body.file"); ok {
		for i, t := range r.message.GetAction().GetTreatments() {
			if treatment == "spec.treatments["+strconv.Itoa(i)+"]" {
				return path.Join(path.Dir(r.file), t.GetBody().GetFile()), in.line, in.col
			}
		}
	}
	switch {
	case p.text == blockText:
		return r.file, p.line + in.line, p.indent + in.col
	case in.line > 1:
		return r.file, p.line, p.col
	case p.text == quotedText:
		return r.file, p.line, p.col + in.col
	}
	return r.file, p.line, p.col + in.col - 1
}

// find returns the place of a path or of the nearest one around it.
func (r *resource) find(at string) place {
	at = canonicalPath(at)
	for {
		if p, ok := r.places[at]; ok {
			return p
		}
		i := strings.LastIndexAny(at, ".[")
		if i < 0 {
			return place{line: r.line, col: 1}
		}
		at = at[:i]
	}
}

// canonicalPath writes labels["goal"] as labels.goal.
func canonicalPath(at string) string {
	return regexp.MustCompile(`\["([^"]*)"\]`).ReplaceAllString(at, ".$1")
}
