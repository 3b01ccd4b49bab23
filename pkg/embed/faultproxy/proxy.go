// Package faultproxy is a TCP proxy that breaks connections on command: it resets them, swallows what goes
// one way or both without closing anything, or delays it, until it is told to stop.
package faultproxy

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Direction is one way through a proxy, or both.
type Direction int

// The directions.
const (
	// Forth is from whoever connected to the target.
	Forth Direction = 1 << iota
	// Back is from the target to whoever connected.
	Back
	// Both ways.
	Both = Forth | Back
)

// faults is what is wrong at the moment.
type faults struct {
	cut       bool
	blackhole Direction
	delay     time.Duration
}

// Proxy forwards what it accepts on a port of 127.0.0.1 to a target. All of it is safe for concurrent use.
type Proxy struct {
	listener net.Listener
	done     sync.WaitGroup

	mu      sync.Mutex
	target  string
	faults  faults
	changed chan struct{} // closed when faults change
	links   map[*link]struct{}
	closed  bool
}

// Listen starts a proxy on a free port. The target is host:port or, if it begins with a slash, the path of a
// unix socket; while it is empty, or nobody listens there, connections are reset.
func Listen(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a fault proxy: %w", err)
	}
	p := &Proxy{listener: l, target: target, changed: make(chan struct{}), links: map[*link]struct{}{}}
	p.done.Go(p.accept)
	return p, nil
}

// Addr is the host:port to connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Retarget sends connections that are made from now on to another target.
func (p *Proxy) Retarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Cut resets all connections, and new ones at once, until Restore.
func (p *Proxy) Cut() {
	for _, l := range p.change(func(f *faults) { f.cut = true }) {
		l.reset()
	}
}

// Blackhole stops forwarding in the given direction, and connecting, until Restore. Nothing is closed, not
// even when one side closes. What is held up is delivered after Restore, as a network would.
func (p *Proxy) Blackhole(d Direction) {
	p.change(func(f *faults) { f.blackhole |= d })
}

// Delay delivers everything that much later, both ways and in order, until Restore.
func (p *Proxy) Delay(d time.Duration) {
	p.change(func(f *faults) { f.delay = d })
}

// Restore ends all faults. Connections that were cut stay so.
func (p *Proxy) Restore() {
	p.change(func(f *faults) { *f = faults{} })
}

// Close resets all connections and ends the proxy. Idempotent.
func (p *Proxy) Close() error {
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	if closed {
		return nil
	}
	err := p.listener.Close()
	p.Cut()
	p.done.Wait()
	if err != nil {
		return fmt.Errorf("close fault proxy: %w", err)
	}
	return nil
}

// change changes what is wrong, tells everybody, and returns the connections that there are.
func (p *Proxy) change(do func(*faults)) []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	do(&p.faults)
	close(p.changed)
	p.changed = make(chan struct{})
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	return links
}

func (p *Proxy) now() (f faults, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults, p.changed
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		l := &link{proxy: p, near: conn, gone: make(chan struct{})}
		if p.admit(l) {
			p.done.Go(l.run)
		} else {
			l.reset()
		}
	}
}

// admit keeps l among the connections, unless they are cut.
func (p *Proxy) admit(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.faults.cut || p.closed {
		return false
	}
	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) forget(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

func (p *Proxy) dial() (net.Conn, error) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	network := "tcp"
	if strings.HasPrefix(target, "/") {
		network = "unix"
	}
	return net.DialTimeout(network, target, dialWithin)
}
