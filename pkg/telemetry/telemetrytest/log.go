// Package telemetrytest keeps what a test's services log, for the test to look at.
package telemetrytest

import (
	"bytes"
	"strings"
	"sync"
)

// Log is a writer of a logger that can be read meanwhile. The zero value is empty. It is safe for concurrent
// use.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer. It never fails.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Count is how often text was written.
func (l *Log) Count(text string) int { return strings.Count(l.String(), text) }

// End is the end of what was written, as much as fits into the report of a failed test.
func (l *Log) End() string {
	const most = 6000
	s := l.String()
	if len(s) <= most {
		return "the log:\n" + s
	}
	return "the log ends with:\n…" + s[len(s)-most:]
}
