package decide

import (
	"errors"
	"strings"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/liquid"
)

// Templates are the parsed texts of a treatment. They are immutable and safe for concurrent use.
type Templates struct {
	// Subject is one line; nil if the treatment has none.
	Subject *liquid.Template
	// Body is nil if the treatment has none.
	Body *liquid.Template
}

// Uses lists what the templates read, with the path of the template in the treatment: subject, body.text or body.file.
func (t *Templates) Uses(spec *definitionv1.Treatment) map[string][]liquid.Use {
	out := map[string][]liquid.Use{}
	if t.Subject != nil {
		out["subject"] = t.Subject.Uses()
	}
	if t.Body != nil {
		out[bodyPath(spec)] = t.Body.Uses()
	}
	return out
}

// Templates returns the texts of a treatment by id, nil if the action has none of that id.
func (a *Action) Templates(treatment string) *Templates { return a.templates[treatment] }

func bodyPath(t *definitionv1.Treatment) string {
	if t.GetBody().GetFile() != "" {
		return "body.file"
	}
	return "body.text"
}

// texts parses the templates of a treatment at path.
func (c *compiler) texts(path string, t *definitionv1.Treatment) *Templates {
	return &Templates{
		Subject: c.template(path+".subject", t.GetSubject()),
		Body:    c.template(path+"."+bodyPath(t), t.GetBody().GetText()),
	}
}

func (c *compiler) template(path, source string) *liquid.Template {
	if source == "" {
		return nil
	}
	t, err := liquid.Parse(source, nil)
	if err == nil {
		return t
	}
	p := definition.Problem{Path: path, What: "the template is not valid Liquid", Why: strings.TrimSpace(err.Error())}
	if e, ok := errors.AsType[*liquid.Error](err); ok {
		p.Why, p.Line, p.Col = e.Message, e.Line, e.Column
	}
	c.problems = append(c.problems, p)
	return nil
}
