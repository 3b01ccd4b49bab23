// Package golden runs cases in the form of Golden Liquid, whose answers come from the reference
// implementation, against pkg/liquid.
package golden

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"refrain.dev/pkg/liquid"
)

// Suite is a file of cases.
type Suite struct {
	Tests []Case `json:"tests"`
}

// Case is a template, its data and what the reference makes of it.
type Case struct {
	Name      string            `json:"name"`
	Template  string            `json:"template"`
	Data      json.RawMessage   `json:"data"`
	Templates map[string]string `json:"templates"`
	Result    *string           `json:"result"`
	Results   []string          `json:"results"`
	Invalid   bool              `json:"invalid"`
	Tags      []string          `json:"tags"`
}

// Outcome is a case that did not pass, and why.
type Outcome struct{ Name, Why string }

// Report counts cases. Passed and the lengths of Refused and Failed add up to Of.
type Report struct {
	Of, Passed int
	// Refused are cases in which we differ by intent, by the rules of Refusals.
	Refused []Outcome
	Failed  []Outcome
}

// Read reads a file of cases.
func Read(file []byte) (*Suite, error) {
	s := &Suite{}
	if err := json.Unmarshal(file, s); err != nil {
		return nil, fmt.Errorf("read cases: %w", err)
	}
	return s, nil
}

// Refusal is a rule by which we differ from the reference. It is known by what a case shows, never by the
// case's name, so it is true of cases that were never seen.
type Refusal struct {
	Why  string
	fits func(c Case, got string, err error) bool
}

// Refusals lists the rules.
func Refusals() []Refusal {
	exponent := regexp.MustCompile(`\d(\.\d+)?e[-+]\d+`)
	return []Refusal{
		{"a number is printed in digits, as a person writes it, never with an exponent", func(c Case, _ string, err error) bool {
			return err == nil && c.Result != nil && exponent.MatchString(*c.Result)
		}},
		{"a filter that does not exist is an error before anything is sent; the reference's lax mode ignores it", func(_ Case, _ string, err error) bool {
			return errors.Is(err, liquid.ErrSyntax) && strings.Contains(err.Error(), "there is no filter")
		}},
		{"a tag that does not exist is an error", func(_ Case, _ string, err error) bool {
			return errors.Is(err, liquid.ErrSyntax) && strings.Contains(err.Error(), "there is no tag")
		}},
	}
}

// Run holds every case against the engine.
func (s *Suite) Run() Report {
	r := Report{Of: len(s.Tests)}
	for _, c := range s.Tests {
		got, err := c.render()
		if c.passes(got, err) {
			r.Passed++
			continue
		}
		o := Outcome{c.Name, c.difference(got, err)}
		if i := slices.IndexFunc(Refusals(), func(f Refusal) bool { return f.fits(c, got, err) }); i >= 0 {
			o.Why = Refusals()[i].Why
			r.Refused = append(r.Refused, o)
			continue
		}
		r.Failed = append(r.Failed, o)
	}
	return r
}

func (c Case) render() (string, error) {
	data, err := ordered(c.Data)
	if err != nil {
		return "", err
	}
	partials := c.Templates
	if partials == nil {
		partials = map[string]string{}
	}
	t, err := liquid.Parse(c.Template, partials)
	if err != nil {
		return "", err //nolint:wrapcheck // shown as it is
	}
	return t.Render(data, liquid.At{Now: time.Date(2026, 4, 27, 12, 0, 0, 0, time.UTC)}) //nolint:wrapcheck // shown as it is
}

func (c Case) passes(got string, err error) bool {
	if c.Invalid || err != nil {
		return c.Invalid && err != nil
	}
	return (c.Result != nil && got == *c.Result) || slices.Contains(c.Results, got)
}

func (c Case) difference(got string, err error) string {
	want := "an error"
	if c.Result != nil {
		want = fmt.Sprintf("%q", *c.Result)
	} else if c.Results != nil {
		want = fmt.Sprintf("one of %q", c.Results)
	}
	if err != nil {
		return fmt.Sprintf("%q = %v, want %s", c.Template, err, want)
	}
	return fmt.Sprintf("%q = %q, want %s", c.Template, got, want)
}

// ordered decodes JSON with the keys of its objects in their order.
func ordered(data json.RawMessage) (any, error) {
	if len(data) == 0 {
		return nil, nil //nolint:nilnil // no data
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return value(d)
}

func value(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, fmt.Errorf("read data: %w", err)
	}
	switch x := t.(type) {
	case json.Number:
		if n, err := x.Int64(); err == nil && !strings.ContainsAny(x.String(), ".eE") {
			return n, nil
		}
		return x.Float64() //nolint:wrapcheck // a number of JSON is one
	case json.Delim:
		if x == '[' {
			return list(d)
		}
		return object(d)
	}
	return t, nil
}

func list(d *json.Decoder) (any, error) {
	out := []any{}
	for d.More() {
		v, err := value(d)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := d.Token()
	return out, err //nolint:wrapcheck // the file was read as JSON before
}

func object(d *json.Decoder) (any, error) {
	m := &liquid.Map{}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("read data: %w", err)
		}
		key, ok := k.(string)
		if !ok {
			return nil, errors.New("a key is not a text")
		}
		v, err := value(d)
		if err != nil {
			return nil, err
		}
		m.Set(key, v)
	}
	_, err := d.Token()
	return m, err //nolint:wrapcheck // the file was read as JSON before
}
