package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/timestamppb"

	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// The formats.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

// table is what a person reads: rows under a head, and lines before them.
type table struct {
	lines []string
	head  []string
	rows  [][]string
}

func (t *table) linef(format string, args ...any) {
	t.lines = append(t.lines, fmt.Sprintf(format, args...))
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// print writes value as JSON or YAML, or the table, whichever is asked for.
func (a *app) print(value any, t table) error {
	var data []byte
	var err error
	switch a.format {
	case formatJSON:
		data, err = indented(value)
	case formatYAML:
		data, err = asYAML(value)
	default:
		data = t.bytes()
	}
	if err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	_, err = a.Stdout.Write(data)
	return err
}

// sayf writes a line for a person, beside the answer.
func (a *app) sayf(format string, args ...any) {
	_, _ = fmt.Fprintf(a.Stderr, format+"\n", args...)
}

func indented(value any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(value)
	return b.Bytes(), err
}

// asYAML goes through JSON, so that both formats have the same names.
func asYAML(value any) ([]byte, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return nil, err
	}
	return yaml.Marshal(numbers(tree))
}

// numbers turns JSON's numbers into what YAML prints as they were.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = numbers(x)
		}
	case []any:
		for i, x := range v {
			v[i] = numbers(x)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
	}
	return v
}

func (t *table) bytes() []byte {
	var b bytes.Buffer
	for _, l := range t.lines {
		b.WriteString(l + "\n")
	}
	if len(t.rows) == 0 {
		return b.Bytes()
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(t.head) > 0 {
		_, _ = fmt.Fprintln(w, strings.Join(t.head, "\t"))
	}
	for _, r := range t.rows {
		for i, cell := range r {
			r[i] = clean(cell)
		}
		_, _ = fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	_ = w.Flush()
	var out bytes.Buffer
	for line := range strings.Lines(b.String()) {
		out.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return out.Bytes()
}

// clean keeps what comes from outside from moving the cursor or breaking a row.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
}

func when(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

// because says reasons in one cell: CAP_REACHED until …, rule.
func because(reasons []*reasonv1.Reason) string {
	var out []string
	for _, r := range reasons {
		text := short(r.GetCode())
		if r.GetUntil() != nil {
			text += " until " + when(r.GetUntil())
		}
		if r.GetRule() != "" {
			text += " by " + r.GetRule()
		}
		if len(r.GetEvidence()) > 0 {
			text += " [" + strings.Join(r.GetEvidence(), ", ") + "]"
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}
