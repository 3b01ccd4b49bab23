package overload

import (
	"encoding/binary"
	"sync"
	"time"
)

// buckets in a row; a power of two.
const buckets = 1 << 15

// Customers keeps one customer from taking what belongs to all: a token bucket for each, in fixed memory.
// Customers share buckets, but each has two, in two rows, and the emptier one counts: two customers hinder
// each other only if they share both. It is safe for concurrent use.
type Customers struct {
	every time.Duration // one event's share of time
	depth time.Duration // how far ahead of time a customer may be

	mu    sync.Mutex
	began time.Duration             // the first reading of the clock, whatever it counts from
	rows  [2][buckets]time.Duration // when, since began, the customer's events will all have had their time
	used  bool
}

// NewCustomers allows each customer rate events per second, and burst at once after a rest. A rate of 0
// allows everything: then it is nil, which may be used.
func NewCustomers(rate float64, burst int) *Customers {
	if rate <= 0 {
		return nil
	}
	every := time.Duration(float64(time.Second) / rate)
	return &Customers{every: every, depth: time.Duration(burst) * every}
}

// Take takes one event of a customer, given by 16 bytes of a keyed hash. Refused events cost nothing.
func (c *Customers) Take(customer []byte, now time.Duration) *RefusedError {
	if c == nil || len(customer) < 16 {
		return nil
	}
	first := &c.rows[0][binary.BigEndian.Uint64(customer[8:])%buckets]
	second := &c.rows[1][binary.BigEndian.Uint64(customer[8:])/buckets%buckets]
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.used {
		c.began, c.used = now, true
	}
	now -= c.began
	until := max(min(*first, *second), now) + c.every
	if over := until - now - c.depth; over > 0 {
		return &RefusedError{Reason: CustomerRate, Why: "one customer has more events than one may", After: again(over)}
	}
	*first, *second = max(*first, until), max(*second, until)
	return nil
}
