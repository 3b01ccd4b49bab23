package shop

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// arguments of an operation.
type arguments map[string]string

func (a arguments) number(name string) int {
	n, _ := strconv.Atoi(a[name]) // 0 is as good as any other
	return n
}

// parse reads an operation such as "order customer=3 order=17".
func parse(text string) (verb string, args arguments, err error) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return "", nil, fmt.Errorf("an operation without a word")
	}
	args = arguments{}
	for _, f := range fields[1:] {
		name, value, ok := strings.Cut(f, "=")
		if !ok {
			return "", nil, fmt.Errorf("operation %q: %q is no name=value", text, f)
		}
		args[name] = value
	}
	return fields[0], args, nil
}

func user(customer int) *eventv1.Identifier {
	return &eventv1.Identifier{Kind: "user_id", Value: fmt.Sprintf("user-%d", customer)}
}

func email(customer int) *eventv1.Identifier {
	return &eventv1.Identifier{Kind: "email", Value: fmt.Sprintf("user-%d@shop.example", customer)}
}

func device(customer int) *eventv1.Identifier {
	return &eventv1.Identifier{Kind: "anonymous_id", Value: fmt.Sprintf("device-%d", customer)}
}

func text(name, value string) *eventv1.Property {
	return &eventv1.Property{Name: name, Value: &eventv1.Value{Kind: &eventv1.Value_Text{Text: value}}}
}

// zones of customers: both sides of the date line, half hours, with and without summer time.
func zones() []string {
	return []string{"Europe/London", "Asia/Tokyo", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "America/St_Johns", "Australia/Lord_Howe"}
}

func (c *client) identify(a arguments) *eventv1.Event {
	n := a.number("customer")
	e := c.event(eventv1.Kind_KIND_IDENTIFY, "identify", user(n), email(n))
	if a["written"] != "" {
		e.Identifiers = append(e.Identifiers, phone(n, a["written"]))
		c.world.Reach("number " + a["written"])
	}
	e.Traits = []*eventv1.Property{text("email", email(n).GetValue())}
	e.Context = &eventv1.Context{TimeZone: zones()[a.number("zone")%len(zones())]}
	return e
}

// by is the identifier under which a customer does something.
func by(a arguments) *eventv1.Identifier {
	switch a["by"] {
	case "email":
		return email(a.number("customer"))
	case "device":
		return device(a.number("customer"))
	case "phone":
		return phone(a.number("customer"), a["written"])
	}
	return user(a.number("customer"))
}

// consent gives or withdraws permission; by says under which identifier: the e-mail address and the device live in
// another partition than their owner as often as not. Claims says by how much the publisher's clock is wrong.
func (c *client) consent(a arguments) *eventv1.Event {
	who, state, what := by(a), eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, "consent_withdrawn"
	if a["state"] == "given" {
		state, what = eventv1.ConsentState_CONSENT_STATE_GIVEN, "consent_given"
	}
	e := c.event(eventv1.Kind_KIND_CONSENT, what, who)
	e.Consent = &eventv1.Consent{State: state, Channel: "*", Topic: "news", Basis: "express"}
	if s := spelt(a.number("spelt")); s != (spelling{}) && a["state"] != "given" {
		e.Consent.Channel, e.Consent.Topic = s.channel, s.topic
		c.world.Reach("opt-out " + s.means)
	}
	if wrong, err := time.ParseDuration(a["claims"]); err == nil {
		e.At = timestamppb.New(c.world.Now().Add(wrong))
	}
	if a["claims"] == "nothing" {
		e.At = nil
	}
	return e
}

// spelling is how somebody writes a channel and a topic, and what it means.
type spelling struct{ channel, topic, means string }

// spelt is how a withdrawal is written; empty for the most, which are as the definitions write them.
func spelt(n int) spelling {
	switch n % 10 {
	case 3:
		return spelling{"e-male", "news", "by an unknown channel"}
	case 5:
		return spelling{"*", "N-E_W S", "in other letters"}
	case 7:
		return spelling{"E-Mail", "gnus", "by an unknown topic"}
	case 9:
		return spelling{"fax", "gnus", "by unknown names"}
	}
	return spelling{}
}

func (c *client) ordered(a arguments, order int) *eventv1.Event {
	e := c.event(eventv1.Kind_KIND_TRACK, "order_placed", by(a))
	if a["by"] == "email" { // somebody known by address only: where they are must be said, or it is always quiet
		e.Context = &eventv1.Context{TimeZone: zones()[a.number("zone")%len(zones())]}
	}
	e.Properties = []*eventv1.Property{text("order_id", strconv.Itoa(order))}
	if size := a.number("size"); size > 0 {
		e.Properties = append(e.Properties, text("note", strings.Repeat("n", size)))
	}
	if late, err := time.ParseDuration(a["late"]); err == nil {
		e.At = timestamppb.New(c.world.Now().Add(-late))
	}
	return e
}

func (c *client) cancelled(a arguments) *eventv1.Event {
	e := c.event(eventv1.Kind_KIND_TRACK, "order_cancelled", user(a.number("customer")))
	e.Properties = []*eventv1.Property{text("order_id", strconv.Itoa(a.number("order")))}
	return e
}

// shared says that a customer has the address of another one.
func (c *client) shared(a arguments) *eventv1.Event {
	e := c.event(eventv1.Kind_KIND_IDENTIFY, "identify", user(a.number("customer")), email(a.number("with")))
	e.Traits = []*eventv1.Property{text("email", email(a.number("with")).GetValue())}
	return e
}

// browsed is what somebody does who is known by address only: the device is the address's until its person comes.
func (c *client) browsed(a arguments) *eventv1.Event {
	n := a.number("customer")
	return c.event(eventv1.Kind_KIND_TRACK, "product_viewed", email(n), device(n))
}

// linked says that a device is somebody's: profiles meet.
func (c *client) linked(a arguments) *eventv1.Event {
	return c.event(eventv1.Kind_KIND_IDENTIFY, "identify", user(a.number("customer")), device(a.number("with")))
}
