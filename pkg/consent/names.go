package consent

import (
	"maps"
	"slices"
	"strings"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/definition"
)

// Names are the channels and topics that are defined. Nil means that nothing is known of them. It is immutable and safe
// for concurrent use.
type Names struct {
	channels, topics names
}

// names leads from what was said, folded, to the name that is defined; to none if it could be several.
type names map[string]string

// NewNames takes the names of all channels and topics.
func NewNames(channels, topics []string) *Names {
	return &Names{channels: fold(channels), topics: fold(topics)}
}

func fold(defined []string) names {
	n := names{}
	for _, name := range defined {
		if _, taken := n[Fold(name)]; taken {
			n[Fold(name)] = ""
			continue
		}
		n[Fold(name)] = name
	}
	for _, name := range defined { // as it is written it means one only
		if n[Fold(name)] == "" {
			n[name] = name
		}
	}
	return n
}

// Fold returns a name as names are compared: without regard to case, hyphens, underscores and blanks.
func Fold(name string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "", "\u00a0", "", "\t", "").Replace(strings.ToLower(name))
}

// find returns the defined name that was meant.
func (n names) find(said string) (string, bool) {
	if said == Any {
		return Any, true
	}
	for _, key := range []string{said, Fold(said)} {
		if name := n[key]; name != "" {
			return name, true
		}
	}
	return "", false
}

// Resolve returns a statement under the names that are defined. A withdrawal that names an unknown channel counts for
// all channels, one that names an unknown topic for all topics: for everything that it could mean. A permission keeps
// a name that is unknown, and permits nothing by it.
func (n *Names) Resolve(c *eventv1.Consent) *eventv1.Consent {
	if n == nil {
		return c
	}
	channel, topic := n.channels.resolve(c.GetChannel(), c.GetState()), n.topics.resolve(c.GetTopic(), c.GetState())
	if channel == c.GetChannel() && topic == c.GetTopic() {
		return c
	}
	out := c.CloneVT()
	out.Channel, out.Topic = channel, topic
	return out
}

func (n names) resolve(said string, state eventv1.ConsentState) string {
	switch name, ok := n.find(said); {
	case ok:
		return name
	case state == eventv1.ConsentState_CONSENT_STATE_WITHDRAWN:
		return Any
	}
	return said
}

// Unknown is a name in a statement that no definition has.
type Unknown struct {
	// Field is channel or topic.
	Field string
	// Remedy is what might have been meant: a suggestion, or what there is.
	Remedy string
}

// Unknown lists the names in a statement that no definition has; none if nothing is known of names.
func (n *Names) Unknown(c *eventv1.Consent) []Unknown {
	if n == nil {
		return nil
	}
	var out []Unknown
	if _, ok := n.channels.find(c.GetChannel()); !ok {
		out = append(out, Unknown{"channel", n.channels.suggest(c.GetChannel())})
	}
	if _, ok := n.topics.find(c.GetTopic()); !ok {
		out = append(out, Unknown{"topic", n.topics.suggest(c.GetTopic())})
	}
	return out
}

func (n names) suggest(said string) string {
	known := slices.Compact(slices.Sorted(maps.Values(n)))
	known = slices.DeleteFunc(known, func(name string) bool { return name == "" })
	if best := definition.Nearest(said, known); best != "" {
		return "did you mean " + best + "?"
	}
	if len(known) == 0 {
		return `none is defined; "*" stands for all`
	}
	return "there are " + strings.Join(known[:min(len(known), 20)], ", ") + `; "*" stands for all`
}
