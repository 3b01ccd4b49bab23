package ledger

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// ReadDefinitions reads the rules for contact from the YAML files of a workspace, by a reader of its own. It
// understands what the check needs and leaves the rest to those who compile definitions.
func ReadDefinitions(workspace fs.FS) (*Definitions, error) {
	d := &Definitions{Actions: map[string]Action{}, Channels: []string{}, Topics: []string{}}
	r := reader{Definitions: d, kinds: []string{"user_id", "email", "phone", "account_id", "anonymous_id"}, endpoints: map[string]string{}}
	err := fs.WalkDir(workspace, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != ".yaml" && path.Ext(name) != ".yml" {
			return err
		}
		data, err := fs.ReadFile(workspace, name)
		if err != nil {
			return fmt.Errorf("read definitions: %w", err)
		}
		if err := r.file(data); err != nil {
			return fmt.Errorf("read definitions: %s: %w", name, err)
		}
		return nil
	})
	r.staff()
	return d, err
}

// reader collects definitions, and what they can be understood from only together.
type reader struct {
	*Definitions

	kinds     []string          // of identifiers
	endpoints map[string]string // by channel
}

// staff finds the channels whose endpoint is a trait: it is no kind of identifier.
func (r *reader) staff() {
	for channel, endpoint := range r.endpoints {
		if endpoint != "" && !slices.Contains(r.kinds, endpoint) {
			if r.Staff == nil {
				r.Staff = map[string]bool{}
			}
			r.Staff[channel] = true
		}
	}
}

// document is one definition, as far as it is read.
type document struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     yaml.Node
}

func (r *reader) file(data []byte) error {
	for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc document
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = r.document(&doc)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", doc.Kind, doc.Metadata.Name, err)
		}
	}
}

func (r *reader) document(doc *document) error {
	switch doc.Kind {
	case "Workspace":
		var spec struct {
			Tenant      string
			DefaultZone string `yaml:"default_zone"`
			Region      string
		}
		err := doc.Spec.Decode(&spec)
		r.Zone, r.Region, r.Tenant = spec.DefaultZone, spec.Region, cmp.Or(spec.Tenant, defaultTenant)
		return err
	case "Action":
		return r.action(doc)
	case "ContactPolicy":
		return r.policy(doc)
	case "Identifier":
		r.kinds = append(r.kinds, doc.Metadata.Name)
	case "Topic":
		r.Topics = append(r.Topics, doc.Metadata.Name)
	case "Channel":
		r.Channels = append(r.Channels, doc.Metadata.Name)
		var spec struct{ Endpoint string }
		err := doc.Spec.Decode(&spec)
		r.endpoints[doc.Metadata.Name] = spec.Endpoint
		return err
	}
	return nil
}

func (d *Definitions) action(doc *document) error {
	var spec struct {
		Purpose string
		Obeys   *bool `yaml:"obeys_caps"`
		Counts  *bool `yaml:"counts_toward_caps"`
	}
	if err := doc.Spec.Decode(&spec); err != nil {
		return err
	}
	a := Action{Obeys: spec.Purpose == "marketing", Counts: spec.Purpose == "marketing"}
	if spec.Obeys != nil {
		a.Obeys = *spec.Obeys
	}
	if spec.Counts != nil {
		a.Counts = *spec.Counts
	}
	d.Actions[doc.Metadata.Name] = a
	return nil
}

// policySpec is a ContactPolicy as written.
type policySpec struct {
	Applies *struct{ Purpose, Channel []string }
	Caps    []struct {
		Max                                    int
		Per                                    yaml.Node
		Channel, Topic, Purpose, Action, Label string
	}
	Gap   string
	Quiet *struct {
		From, To string
		Unknown  string `yaml:"unknown_zone"`
	}
	Consent string
}

func (d *Definitions) policy(doc *document) error {
	var spec policySpec
	if err := doc.Spec.Decode(&spec); err != nil {
		return err
	}
	p := Policy{Name: doc.Metadata.Name, Consent: spec.Consent}
	if a := spec.Applies; a != nil {
		p.Selects, p.Purposes, p.Channels = true, a.Purpose, a.Channel
	}
	for _, c := range spec.Caps {
		l := Limit{Max: c.Max, Channel: c.Channel, Topic: c.Topic, Purpose: c.Purpose, Action: c.Action, Label: c.Label}
		if err := l.window(&c.Per); err != nil {
			return err
		}
		p.Limits = append(p.Limits, l)
	}
	var err error
	if spec.Gap != "" {
		if p.Gap, err = period(spec.Gap); err != nil {
			return err
		}
	}
	if q := spec.Quiet; q != nil {
		p.Quiet = &Quiet{Workspace: q.Unknown == "workspace"}
		var errTo error
		p.Quiet.From, err = minutes(q.From)
		p.Quiet.To, errTo = minutes(q.To)
		err = errors.Join(err, errTo)
	}
	d.Policies = append(d.Policies, p)
	return err
}

// window reads "P7D", {rolling: P7D} or {calendar: day, zone: recipient}.
func (l *Limit) window(n *yaml.Node) error {
	var spec struct{ Rolling, Calendar, Zone string }
	if n.Kind == yaml.ScalarNode {
		spec.Rolling = n.Value
	} else if err := n.Decode(&spec); err != nil {
		return err
	}
	l.Calendar, l.Zone = spec.Calendar, spec.Zone
	switch {
	case spec.Rolling != "":
		var err error
		l.Rolling, err = period(spec.Rolling)
		return err
	case spec.Calendar != "day" && spec.Calendar != "week" && spec.Calendar != "month":
		return fmt.Errorf("a cap over no window that is known: %q", spec.Calendar)
	}
	return nil
}

// minutes reads a time of day.
func minutes(clock string) (int, error) {
	t, err := time.Parse("15:04", clock)
	if err != nil {
		return 0, fmt.Errorf("time of day %q: want hh:mm", clock)
	}
	return t.Hour()*60 + t.Minute(), nil
}

// period reads an ISO 8601 duration of fixed length.
func period(text string) (time.Duration, error) {
	parts := regexp.MustCompile(`^P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`).FindStringSubmatch(text)
	if parts == nil || strings.HasSuffix(text, "P") || strings.HasSuffix(text, "T") {
		return 0, fmt.Errorf("duration %q: want one of fixed length, such as P7D or PT4H", text)
	}
	total := time.Duration(0)
	for n, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if parts[n+1] == "" {
			continue
		}
		value, err := strconv.ParseFloat(parts[n+1], 64)
		if err != nil {
			return 0, fmt.Errorf("duration %q: %w", text, err)
		}
		total += time.Duration(value * float64(unit))
	}
	return total, nil
}
