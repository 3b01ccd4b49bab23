package ledger

import (
	"slices"
	"strings"

	"refrain.dev/pkg/log"
)

// messageKey is what publishers call an event by. One message id of two customers is two events.
type messageKey struct{ tenant, id string }

// customerOf is the first identifier of an encoded event, by which its customer is told; "" if it has none.
func customerOf(message []byte) string {
	return folded(firstOf(message), "")
}

// firstOf is the first identifier of an encoded event as it is stored, as kind:value; "" if it has none.
func firstOf(message []byte) string {
	for w := (wire{rest: message}); w.next(); {
		if w.num == 7 {
			return string(field(w.data, 1)) + ":" + string(field(w.data, 2))
		}
	}
	return ""
}

// folded is an identifier as it is compared, however its publisher wrote it. A telephone number without a country code is
// of the region.
func folded(identifier, region string) string {
	identifier = strings.ToLower(strings.TrimSpace(identifier))
	if number, ok := strings.CutPrefix(identifier, "phone:"); ok {
		return "phone:" + dialled(number, region)
	}
	return identifier
}

// sentAs returns the event that a line of the client's log is about. Its identifiers tell; if none is as it is stored, the
// only event of the message id, unless other customers' events have it too, or what is stored where it was acknowledged.
func (c *checker) sentAs(s *Sent) *event {
	message := messageKey{tenantOf(s), s.ID}
	known := c.events.byMessage[message]
	region := c.region(message.tenant)
	var customer string
	for n, id := range s.Identifiers {
		if n == 0 {
			customer = folded(id, region)
		}
		for _, e := range known {
			if e.key.customer == folded(id, region) {
				return e
			}
		}
	}
	if len(known) == 1 && len(c.senders()[message]) == 1 {
		return known[0]
	}
	for _, e := range known {
		if e.storedAt(s.Position) {
			return e
		}
	}
	return c.events.get(eventKey{message, customer})
}

// senders are the customers whom the client's log names with each message id.
func (c *checker) senders() map[messageKey][]string {
	if c.sendersOf != nil {
		return c.sendersOf
	}
	c.sendersOf = map[messageKey][]string{}
	for n := range c.h.Sent {
		s := &c.h.Sent[n]
		customer := ""
		if len(s.Identifiers) > 0 {
			customer = folded(s.Identifiers[0], c.region(tenantOf(s)))
		}
		message := messageKey{tenantOf(s), s.ID}
		if !slices.Contains(c.sendersOf[message], customer) {
			c.sendersOf[message] = append(c.sendersOf[message], customer)
		}
	}
	return c.sendersOf
}

// storedAt says whether an event is stored at a position.
func (e *event) storedAt(p *Position) bool {
	if p == nil {
		return false
	}
	subject := log.Subject(log.Lane(p.Lane), p.Partition)
	return slices.ContainsFunc(e.stored, func(at stored) bool { return at.subject == subject && at.at.sequence == p.Sequence })
}

// causeOf returns the event of a message id that was applied to a customer's row; nil if none is known.
func (e *events) causeOf(message messageKey, row string) *event {
	for _, found := range e.byMessage[message] {
		if slices.Contains(found.customers, row) {
			return found
		}
	}
	if known := e.byMessage[message]; len(known) == 1 {
		return known[0]
	}
	return nil
}

func tenantOf(s *Sent) string {
	if s.Tenant == "" {
		return defaultTenant
	}
	return s.Tenant
}
