//go:build unix

package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// listener keeps what a process writes and reads its log lines along.
type listener struct {
	keep io.Writer

	mu     sync.Mutex
	rest   []byte
	heard  map[string]string // component: address
	ready  bool
	unwell []string
}

// foreign begins lines that the Redis client writes by itself when it cannot connect.
const foreign = "redis: "

// mostTrouble bounds what is remembered of a process that goes wrong again and again.
const mostTrouble = 20

// Write implements io.Writer.
func (l *listener) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, data...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte{'\n'})
		if !whole {
			break
		}
		l.line(line)
		l.rest = rest
	}
	l.rest = bytes.Clone(l.rest)
	n, err := l.keep.Write(data)
	if err != nil {
		return n, fmt.Errorf("keep what a process says: %w", err)
	}
	return n, nil
}

func (l *listener) line(text []byte) {
	var line struct {
		Msg, Component, Address string
		Ready                   bool
	}
	if bytes.HasPrefix(text, []byte(foreign)) {
		return
	}
	if json.Unmarshal(text, &line) != nil {
		l.note(text)
		return
	}
	switch line.Msg {
	case "listening":
		l.heard[line.Component] = line.Address
	case "readiness changed":
		l.ready = line.Ready
	case "partition halted":
		l.note(text)
	}
}

func (l *listener) note(text []byte) {
	if len(l.unwell) < mostTrouble {
		l.unwell = append(l.unwell, string(text))
	}
}

func (l *listener) addr(component string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard[component]
}

func (l *listener) isReady() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready
}

func (l *listener) trouble() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.unwell...)
}
