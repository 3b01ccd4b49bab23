// Package clocktest has clocks for tests.
package clocktest

import (
	"sync"
	"time"

	"refrain.dev/pkg/clock"
)

// Off is a wall clock whose time of day is off. The zero value is right. It is safe for concurrent use.
type Off struct {
	clock.Wall

	mu  sync.Mutex
	off time.Duration
}

// By returns a clock that is so much later than it is.
func By(off time.Duration) *Off { return &Off{off: off} }

// Now implements clock.Clock.
func (c *Off) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Wall.Now().Add(c.off)
}

// Set makes the time of day so much later than it is.
func (c *Off) Set(off time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = off
}

// Step moves the time of day.
func (c *Off) Step(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += by
}
