// Package logtest is the conformance suite of package log: what every Site must do. A difference between
// two implementations is a test here, or a bug.
package logtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"refrain.dev/pkg/log"
)

// Open returns a Site with nothing in it. What it needs is released by t.Cleanup.
type Open func(t *testing.T) log.Site

// Run runs the suite, every test on a Site of its own.
func Run(t *testing.T, open Open) {
	t.Helper()
	suite{open: open, replicas: 1}.run(t)
}

// RunReplicated is Run with three replicas of everything.
func RunReplicated(t *testing.T, open Open) {
	t.Helper()
	suite{open: open, replicas: 3}.run(t)
}

type suite struct {
	open     Open
	replicas int
}

func (s suite) run(t *testing.T) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, suite)
	}{
		{"append and expect", appendAndExpect},
		{"sequences are shared by the subjects of a stream", sharedSequences},
		{"a repeated append is never recognised", neverDeduped},
		{"what is stored is copied", copied},
		{"last, get and next", reading},
		{"two writers, each position has one winner", twoWriters},
		{"chain resolves a lost answer", chainLostAnswer},
		{"chain that was overtaken", chainOvertaken},
		{"chain that lost data", chainLostData},
		{"chain refuses a second append", chainBusy},
		{"purge keeps the last and its expectation", purgeKeepsLast},
		{"feed is in order and resumes", feedOrder},
		{"feed delivers what is there and what comes", feedLive},
		{"slow tail does not stop the others", feedSlowTail},
		{"feed of large messages", feedLarge},
		{"feed from a position that is gone", feedGone},
		{"feed of a stream that is made anew", feedAnew},
		{"feed of two streams is refused", feedTwoStreams},
		{"key value", keyValue},
		{"usage and full stream", fullStream},
		{"what no reader reads back drops its oldest", sideStream},
		{"large message is refused", tooLarge},
		{"provisioning is idempotent", provisionTwice},
		{"two provisioners race", provisionRace},
		{"half-provisioned is made again", provisionAgain},
		{"assert finds drift", assertDrift},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
}

const (
	partitions = 4
	maxBytes   = 4 << 20
	waitFor    = 20 * time.Second
)

func (s suite) generation() log.Generation {
	secret := []byte("0123456789abcdef0123456789abcdef")
	return log.Generation{Number: 1, Partitions: partitions, Streams: 2, Secret: secret, Replicas: s.replicas}
}

// provisioned opens a Site with a ready generation.
func provisioned(t *testing.T, s suite) log.Site {
	t.Helper()
	site := s.open(t)
	_, err := log.Provision(t.Context(), site, s.generation(), log.ProvisionConfig{MaxBytes: maxBytes, Owner: "test"})
	if err != nil {
		t.Fatalf("provision: %v", err)
	}
	return site
}

func last(t *testing.T, b log.Broker, subject string) log.Message {
	t.Helper()
	m, err := b.Last(t.Context(), subject)
	if err != nil {
		t.Fatalf("last of %s: %v", subject, err)
	}
	return m
}

func mustAppend(t *testing.T, b log.Broker, subject string, expect uint64, data string) uint64 {
	t.Helper()
	sequence, err := b.Append(t.Context(), subject, expect, []byte(data))
	if err != nil {
		t.Fatalf("append to %s after %d: %v", subject, expect, err)
	}
	return sequence
}

func mustPublish(t *testing.T, b log.Broker, subject, data string) uint64 {
	t.Helper()
	sequence, err := b.Publish(t.Context(), subject, []byte(data))
	if err != nil {
		t.Fatalf("publish on %s: %v", subject, err)
	}
	return sequence
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("%s: got error %v, want %v", what, got, want)
	}
}

func wantConflict(t *testing.T, err error, last uint64) {
	t.Helper()
	conflict, ok := errors.AsType[*log.ConflictError](err)
	if !ok || conflict.Last != last {
		t.Fatalf("got error %v, want a conflict that names %d", err, last)
	}
}

// take waits for the next message of a tail and takes it.
func take(t *testing.T, tail log.Tail) log.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel()
	m, err := Take(ctx, tail)
	if err != nil {
		t.Fatalf("take: %v", err)
	}
	return m
}

// Take waits for the next message of a tail and takes it.
func Take(ctx context.Context, tail log.Tail) (log.Message, error) {
	for {
		if m, ok := tail.Peek(); ok {
			tail.Pop()
			return m, nil
		}
		if err := tail.Err(); err != nil {
			return log.Message{}, fmt.Errorf("tail: %w", err)
		}
		select {
		case <-tail.Wake():
		case <-ctx.Done():
			return log.Message{}, fmt.Errorf("wait for a message: %w", ctx.Err())
		}
	}
}

func feed(t *testing.T, b log.Broker, from map[string]uint64) log.Feed {
	t.Helper()
	f, err := b.Feed(t.Context(), from)
	if err != nil {
		t.Fatalf("feed: %v", err)
	}
	t.Cleanup(f.Close)
	return f
}

// Lossy is a Broker whose appends lose answers.
type Lossy struct {
	log.Broker
	// Lose says whether the answer to the next append, which has been made, is lost.
	Lose func() bool
}

// Append implements log.Broker.
func (l Lossy) Append(ctx context.Context, subject string, expect uint64, data []byte) (uint64, error) {
	sequence, err := l.Broker.Append(ctx, subject, expect, data)
	if l.Lose() {
		return 0, log.ErrUnknown
	}
	return sequence, err
}
