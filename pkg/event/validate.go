package event

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// Limits on one event. They equal the rules in the contract where it has any.
const (
	MaxID          = 128
	MaxType        = 200
	MaxTenant      = 64
	MaxIdentifiers = 20
	MaxProperties  = 500
	MaxName        = 200
	// MaxDepth is how deep lists and objects may nest.
	MaxDepth = 16

	maxShort = 64 // of what is one word: a zone, a channel, a topic
)

// Problem is something wrong with one event.
type Problem struct {
	// Field is where, such as traits.email; empty for the whole event.
	Field string
	// Why says what is wrong and, where it is not plain, the remedy. It holds no personal data.
	Why string
}

// String is the problem in one line.
func (p Problem) String() string {
	if p.Field == "" {
		return p.Why
	}
	return p.Field + ": " + p.Why
}

// Validate returns everything that is wrong with e as a publisher's event would be stored; none means acceptable.
// Identifiers are expected to be normalised; see Kinds.Normalise.
func Validate(e *eventv1.Event) []Problem {
	if e == nil {
		return []Problem{{Why: "is empty"}}
	}
	var p problems
	p.text("id", e.GetId(), MaxID)
	p.text("type", e.GetType(), MaxType)
	if why := TenantProblem(e.GetTenant()); why != "" {
		p.add("tenant", why)
	}
	if _, known := eventv1.Kind_name[int32(e.GetKind())]; !known || e.GetKind() == eventv1.Kind_KIND_UNSPECIFIED {
		p.add("kind", "is not one of the kinds")
	}
	if e.GetKind() == eventv1.Kind_KIND_RECEIPT || len(e.GetReceipt()) > 0 {
		p.add("kind", "is the mesh's own; providers report by token, with an outcome")
	}
	p.time("at", e.GetAt())
	p.identifiers(e)
	p.properties("properties", e.GetProperties(), 0)
	p.properties("traits", e.GetTraits(), 0)
	p.context(e.GetContext())
	p.special(e)
	return p.list
}

// TenantProblem says why a name cannot be a tenant's; empty if it can.
func TenantProblem(tenant string) string {
	odd := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }
	if tenant == "" || len(tenant) > MaxTenant || tenant[0] == '-' || strings.ContainsFunc(tenant, odd) {
		return "is not a tenant: want 1 to 64 lower-case letters, digits and dashes"
	}
	return ""
}

// problems collects what is wrong.
type problems struct{ list []Problem }

func (p *problems) add(field, why string) { p.list = append(p.list, Problem{Field: field, Why: why}) }

// text wants 1 to limit bytes of UTF-8.
func (p *problems) text(field, s string, limit int) {
	if s == "" {
		p.add(field, "is missing")
		return
	}
	p.optional(field, s, limit)
}

func (p *problems) optional(field, s string, limit int) {
	switch {
	case len(s) > limit:
		p.add(field, fmt.Sprintf("has %d bytes, more than %d", len(s), limit))
	case !utf8.ValidString(s):
		p.add(field, "is not valid UTF-8")
	}
}

// time wants an instant between 1900 and 2200, which is where arithmetic on it is safe.
func (p *problems) time(field string, t *timestamppb.Timestamp) {
	if t == nil {
		p.add(field, "is missing")
		return
	}
	if y := t.AsTime().Year(); !t.IsValid() || y < firstYear || y > lastYear {
		p.add(field, "is not a time between the years 1900 and 2200")
	}
}

func (p *problems) identifiers(e *eventv1.Event) {
	if n := len(e.GetIdentifiers()); n == 0 {
		p.add("identifiers", "are missing: an event is about somebody")
	} else if n > MaxIdentifiers {
		p.add("identifiers", fmt.Sprintf("are %d, more than %d", n, MaxIdentifiers))
	}
	for i, id := range e.GetIdentifiers() {
		if v := id.GetValue(); id.GetKind() == "" || len(id.GetKind()) > 64 || v == "" || len(v) > maxIdentifier || !utf8.ValidString(v) {
			p.identifier(fmt.Sprintf("identifiers[%d]", i), id)
		}
	}
	if e.GetAccount() != nil {
		p.identifier("account", e.GetAccount())
	}
	if e.GetKind() == eventv1.Kind_KIND_GROUP && e.GetAccount() == nil {
		p.add("account", "is missing: a group event names one")
	}
	if e.GetKind() == eventv1.Kind_KIND_ALIAS && len(e.GetIdentifiers()) == 1 {
		p.add("identifiers", "are one: an alias names two")
	}
}

func (p *problems) identifier(field string, id *eventv1.Identifier) {
	p.text(field+".kind", id.GetKind(), 64)
	p.text(field+".value", id.GetValue(), maxIdentifier)
}

func (p *problems) properties(field string, list []*eventv1.Property, depth int) {
	if len(list) > MaxProperties {
		p.add(field, fmt.Sprintf("are %d, more than %d", len(list), MaxProperties))
		return
	}
	for i, prop := range list {
		p.property(field, i, prop, depth)
	}
}

func (p *problems) property(field string, i int, prop *eventv1.Property, depth int) {
	if n := prop.GetName(); n == "" || len(n) > MaxName || !utf8.ValidString(n) {
		p.text(fmt.Sprintf("%s[%d].name", field, i), n, MaxName)
		return
	}
	if !plain(prop.GetValue()) {
		p.value(field+"."+cut(prop.GetName()), prop.GetValue(), depth+1)
	}
}

// plain says whether a value cannot be wrong, so that its path need not be made.
func plain(v *eventv1.Value) bool {
	switch k := v.GetKind().(type) {
	case *eventv1.Value_Text:
		return utf8.ValidString(k.Text)
	case *eventv1.Value_Integer, *eventv1.Value_Flag, nil:
		return true
	}
	return false
}

func (p *problems) value(field string, v *eventv1.Value, depth int) {
	if depth > MaxDepth {
		p.add(field, fmt.Sprintf("is nested deeper than %d", MaxDepth))
		return
	}
	switch k := v.GetKind().(type) {
	case *eventv1.Value_Text:
		p.optional(field, k.Text, math.MaxInt)
	case *eventv1.Value_Number:
		if math.IsNaN(k.Number) || math.IsInf(k.Number, 0) {
			p.add(field, "is not a finite number")
		}
	case *eventv1.Value_List:
		for i, item := range k.List.GetValues() {
			p.value(fmt.Sprintf("%s[%d]", field, i), item, depth+1)
		}
	case *eventv1.Value_Object:
		p.properties(field, k.Object.GetProperties(), depth)
	}
}

func (p *problems) context(c *eventv1.Context) {
	p.optional("context.time_zone", c.GetTimeZone(), 64)
	p.optional("context.locale", c.GetLocale(), 64)
	p.optional("context.source", c.GetSource(), MaxName)
	p.optional("context.via", c.GetVia(), 64)
}

// special checks what the two reserved kinds carry.
func (p *problems) special(e *eventv1.Event) {
	switch consent, outcome := e.GetConsent(), e.GetOutcome(); {
	case e.GetKind() == eventv1.Kind_KIND_CONSENT && consent == nil:
		p.add("consent", "is missing")
	case e.GetKind() == eventv1.Kind_KIND_OUTCOME && outcome == nil:
		p.add("outcome", "is missing")
	case e.GetKind() != eventv1.Kind_KIND_CONSENT && consent != nil:
		p.add("consent", "is there, but the event's kind is another")
	case e.GetKind() != eventv1.Kind_KIND_OUTCOME && outcome != nil:
		p.add("outcome", "is there, but the event's kind is another")
	case consent != nil:
		p.list = append(p.list, consentProblems("consent", consent)...)
	case outcome != nil:
		p.outcome(outcome)
	}
}

func (p *problems) outcome(o *eventv1.Outcome) {
	if OutcomeName(o.GetKind()) == "" {
		p.add("outcome.kind", "is not one of the outcomes")
	}
	p.text("outcome.token", o.GetToken(), 2048)
	p.optional("outcome.reason", o.GetReason(), 200)
	if math.IsNaN(o.GetValue()) || math.IsInf(o.GetValue(), 0) {
		p.add("outcome.value", "is not a finite number")
	}
}

func consentProblems(field string, c *eventv1.Consent) []Problem {
	var p problems
	if s := c.GetState(); s != eventv1.ConsentState_CONSENT_STATE_GIVEN && s != eventv1.ConsentState_CONSENT_STATE_WITHDRAWN {
		p.add(field+".state", "is neither given nor withdrawn")
	}
	p.text(field+".channel", c.GetChannel(), maxShort)
	p.text(field+".topic", c.GetTopic(), maxShort)
	p.optional(field+".basis", c.GetBasis(), 64)
	p.optional(field+".evidence", c.GetEvidence(), 512)
	if c.GetExpiresAt() != nil {
		p.time(field+".expires_at", c.GetExpiresAt())
	}
	return p.list
}

// cut keeps names in messages short and printable.
func cut(name string) string {
	name = strings.ToValidUTF8(name, "?")
	if len(name) > 64 {
		return strings.ToValidUTF8(name[:64], "") + "…"
	}
	return name
}
