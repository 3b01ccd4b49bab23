package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"refrain.dev/pkg/fault"
)

type jsLeases struct{ j *JetStream }

// Leases implements Site. The bucket is a JetStream KV bucket named refrain-members. Its entries are held by
// raw publishes: an update by a KV client would store a value without a TTL, which never goes.
func (j *JetStream) Leases() Leases { return jsLeases{j} }

// prepareLeases makes the bucket. Its reads may be answered by any replica: whoever relies on who is a member
// has lost already.
func (j *JetStream) prepareLeases(ctx context.Context, replicas int) error {
	return j.create(ctx, jetstream.StreamConfig{
		Name: leaseStream, Subjects: []string{leaseSubjects + ">"}, Replicas: replicas, MaxMsgsPerSubject: 1,
		MaxBytes: leaseMaxBytes, MaxMsgSize: maxLease + 4096, Discard: jetstream.DiscardNew, DenyDelete: true,
		AllowRollup: true, AllowDirect: true, AllowMsgTTL: true, Storage: jetstream.FileStorage, Duplicates: duplicates,
	})
}

// Hold implements Leases.
func (l jsLeases) Hold(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	if err := checkLease(key, value, ttl); err != nil {
		return 0, err
	}
	whole := (ttl + time.Second - 1).Truncate(time.Second) // the server counts in seconds
	return l.j.publish(ctx, "hold "+key, &nats.Msg{Subject: leaseSubjects + key, Data: value},
		jetstream.WithExpectLastSequencePerSubject(revision), jetstream.WithMsgTTL(whole))
}

const (
	directGet    = "$JS.API.DIRECT.GET." + leaseStream
	statusHeader = "Status"
	statusDone   = "204"
	statusNone   = "404"
)

// All implements Leases: one request that every entry answers.
func (l jsLeases) All(ctx context.Context, group string) ([]Lease, error) {
	body, err := json.Marshal(map[string][]string{"multi_last": {leaseSubjects + group + ".>"}})
	if err != nil {
		return nil, fault.New(fault.Internal, "list leases of %s: %w", group, err)
	}
	tctx, cancel := context.WithTimeout(ctx, l.j.timeout)
	defer cancel()
	inbox := l.j.nc.NewInbox()
	answers, err := l.j.nc.SubscribeSync(inbox)
	if err == nil {
		defer func() { _ = answers.Unsubscribe() }()
		err = l.j.nc.PublishRequest(directGet, inbox, body)
	}
	if err != nil {
		return nil, fmt.Errorf("list leases of %s: %w", group, translate(err))
	}
	var out []Lease
	for {
		m, err := answers.NextMsgWithContext(tctx)
		if err != nil {
			return nil, fmt.Errorf("list leases of %s: %w", group, translate(err))
		}
		lease, more, err := readLease(m)
		if err != nil {
			return nil, fmt.Errorf("list leases of %s: %w", group, err)
		}
		if !more {
			slices.SortFunc(out, func(a, b Lease) int { return strings.Compare(a.Key, b.Key) })
			return out, nil
		}
		out = append(out, lease)
	}
}

// readLease reads one answer; more says that it is an entry and not the end.
func readLease(m *nats.Msg) (l Lease, more bool, err error) {
	switch status := m.Header.Get(statusHeader); status {
	case "":
	case statusDone, statusNone:
		return Lease{}, false, nil
	default:
		return Lease{}, false, fault.As(fault.Unavailable, fmt.Errorf("%w: the broker answers %s %s", ErrUnknown, status, m.Header.Get("Description")))
	}
	l.Revision, err = strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return Lease{}, false, fault.As(fault.Internal, errors.Join(errors.New("read the revision of a lease"), err))
	}
	l.Key, l.Value = strings.TrimPrefix(m.Header.Get(jetstream.SubjectHeader), leaseSubjects), m.Data
	return l, true, nil
}
