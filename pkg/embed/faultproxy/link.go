package faultproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	dialWithin = 5 * time.Second
	// chunkBytes and chunksQueued bound what is on its way in one direction of one connection.
	chunkBytes   = 32 << 10
	chunksQueued = 128
)

// link is one connection through a proxy.
type link struct {
	proxy *Proxy
	near  net.Conn
	gone  chan struct{} // closed when it is reset

	mu     sync.Mutex
	far    net.Conn
	closed bool
}

// chunk is something that was read: bytes, or that there is nothing more.
type chunk struct {
	data []byte
	at   time.Time
	err  error
}

// run forwards both ways until both are at their end or something goes wrong.
func (l *link) run() {
	defer l.proxy.forget(l)
	defer l.reset()
	if !l.await(Both, time.Now()) {
		return
	}
	far, err := l.proxy.dial()
	if err != nil || !l.connected(far) {
		return
	}
	var ways sync.WaitGroup
	ways.Go(func() { l.forward(l.near, far, Forth) })
	ways.Go(func() { l.forward(far, l.near, Back) })
	ways.Wait()
}

// connected takes over the connection to the target, or closes it if the link was reset meanwhile.
func (l *link) connected(far net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = far.Close()
		return false
	}
	l.far = far
	return true
}

// reset ends both connections so that the other sides see a reset and not an orderly end, unless they were
// ended already. Idempotent.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	close(l.gone)
	for _, conn := range []net.Conn{l.near, l.far} {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		if conn != nil {
			_ = conn.Close()
		}
	}
}

// forward moves what comes from one side to the other, under the faults of its direction.
func (l *link) forward(from, to net.Conn, way Direction) {
	queue := make(chan chunk, chunksQueued)
	l.proxy.done.Go(func() { l.read(from, queue) })
	for {
		var c chunk
		select {
		case c = <-queue:
		case <-l.gone:
			return
		}
		if !l.await(way, c.at) {
			return
		}
		err := c.err
		if err == nil {
			_, err = to.Write(c.data)
		}
		switch {
		case errors.Is(err, io.EOF):
			if half, ok := to.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
				return
			}
			l.reset()
			return
		case err != nil:
			l.reset()
			return
		}
	}
}

// read queues what comes from one side, at last its end.
func (l *link) read(from net.Conn, queue chan<- chunk) {
	for {
		data := make([]byte, chunkBytes)
		n, err := from.Read(data)
		at := time.Now()
		if n > 0 && !l.queue(queue, chunk{data: data[:n], at: at}) {
			return
		}
		if err != nil {
			l.queue(queue, chunk{at: at, err: err})
			return
		}
	}
}

func (l *link) queue(queue chan<- chunk, c chunk) bool {
	select {
	case queue <- c:
		return true
	case <-l.gone:
		return false
	}
}

// await returns when what was read at a time may be forwarded; false if the link is gone.
func (l *link) await(way Direction, at time.Time) bool {
	for {
		f, changed := l.proxy.now()
		if f.blackhole&way != 0 {
			select {
			case <-changed:
				continue
			case <-l.gone:
				return false
			}
		}
		left := time.Until(at.Add(f.delay))
		if left <= 0 {
			return true
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-changed:
		case <-l.gone:
		}
		timer.Stop()
		select {
		case <-l.gone:
			return false
		default:
		}
	}
}
