package definition

import (
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

// templates reads the template files that an action's treatments name into the resource.
func (d *decoder) templates() {
	for i, t := range d.res.message.GetAction().GetTreatments() {
		if t.GetBody().GetFile() != "" {
			d.template(t.GetBody(), "spec.treatments["+strconv.Itoa(i)+"].body.file")
		}
	}
}

func (d *decoder) template(b *definitionv1.Body, at string) {
	if b.GetText() != "" {
		d.refuseTemplate(at, "both text and a file", "only one of the two")
		return
	}
	name := path.Join(path.Dir(d.file), b.GetFile())
	if path.IsAbs(b.GetFile()) || strings.Contains(b.GetFile(), `\`) || name == ".." || strings.HasPrefix(name, "../") {
		d.refuseTemplate(at, strconv.Quote(b.GetFile())+" is outside the directory", "paths are relative to the definition's file")
		return
	}
	data, err := readFile(d.loader.fsys, name)
	switch {
	case err != nil:
		d.refuseTemplate(at, name+" cannot be read", cause(err))
	case !utf8.Valid(data):
		d.refuseTemplate(at, name+" is not UTF-8 text", "save the file as UTF-8")
	default:
		b.Text = string(data)
	}
}

func (d *decoder) refuseTemplate(at, what, why string) {
	d.failed = append(d.failed, at)
	d.failAt(d.res.find(at), at, at+": "+what, why)
}
