//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"refrain.dev/tools/internal/fleet"
)

// lie is how the provider answers a request.
type lie int

const (
	truth lie = iota
	// lateAfterAccepting keeps the message and answers when nobody waits any more.
	lateAfterAccepting
	// refusedAfterAccepting keeps the message and says that it does not.
	refusedAfterAccepting
	// garbage keeps the message and answers what nobody can read.
	garbage
	// brokenAfterAccepting keeps the message and says that something went wrong.
	brokenAfterAccepting
	// resetAfterReading keeps the message and resets the connection.
	resetAfterReading
	// loris keeps the message and answers a byte at a time.
	loris
	// resetUnread resets the connection before it has read anything, and keeps nothing.
	resetUnread
	// refused keeps nothing and says so; busy too, for now.
	refused
	busy
	// unavailable keeps nothing and says that something went wrong: nobody can tell that from a message kept.
	unavailable
	// lies counts them.
	lies
)

// String names it for people.
func (l lie) String() string {
	return [...]string{
		"accepted", "accepted, answered too late", "accepted, said refused", "accepted, answered garbage", "accepted, said broken",
		"accepted, then reset", "accepted, answered bytewise", "reset unread", "refused", "said too many", "said unavailable",
	}[l]
}

// accepts says whether the provider makes a message of it.
func (l lie) accepts() bool { return l < resetUnread }

// refuses says whether the answer says for certain that there is no message.
func (l lie) refuses() bool { return l == refusedAfterAccepting || l == refused || l == busy }

// answer answers; ctx ends what hangs.
func (l lie) answer(ctx context.Context, w http.ResponseWriter, message string) {
	switch l {
	case lateAfterAccepting:
		fleet.Pause(ctx, 2*timeout)
		w.WriteHeader(http.StatusNoContent)
	case refusedAfterAccepting, refused:
		w.WriteHeader(http.StatusUnprocessableEntity)
	case garbage:
		_, _ = io.WriteString(w, "{\"id\": [\x00\xff")
	case brokenAfterAccepting:
		w.WriteHeader(http.StatusInternalServerError)
	case resetAfterReading, resetUnread:
		cutOff(w)
	case loris:
		drip(ctx, w)
	case busy:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case unavailable:
		w.WriteHeader(http.StatusServiceUnavailable)
	case truth, lies:
		_, _ = fmt.Fprintf(w, "{\"id\": %q}", message)
	}
}

// cutOff resets the connection.
func cutOff(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// drip answers bytewise, for longer than anybody waits.
func drip(ctx context.Context, w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close() //nolint:errcheck // nobody waits for it
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
	for n := range answer {
		if _, err := io.WriteString(conn, answer[n:n+1]); err != nil || ctx.Err() != nil {
			return
		}
		fleet.Pause(ctx, 3*timeout/time.Duration(len(answer)))
	}
}
