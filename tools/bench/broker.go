package main

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/log"
)

// benchPartitions of both servers.
const benchPartitions = 4

// broker is an embedded NATS server with the streams of a mesh, as Refrain and as a bare client see it.
type broker struct {
	server *embed.NATS
	nc     *nats.Conn
	site   *log.JetStream
	js     jetstream.JetStream
}

func startBroker(ctx context.Context, dir string) (_ *broker, err error) {
	b := &broker{}
	if b.server, err = embed.StartNATS(embed.NATSConfig{Dir: dir, DontListen: true}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.nc, err = b.server.Connect(); err != nil {
		return nil, err
	}
	if b.site, err = log.NewJetStream(b.nc); err != nil {
		return nil, err
	}
	gen := log.Generation{Number: 1, Partitions: benchPartitions, Streams: 1, Replicas: 1}
	if _, err = log.Provision(ctx, b.site, gen, log.ProvisionConfig{Owner: "bench"}); err != nil {
		return nil, err
	}
	if b.js, err = jetstream.New(b.nc); err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	return b, nil
}

func (b *broker) close() {
	if b.nc != nil {
		b.nc.Close()
	}
	b.server.Shutdown()
}

// recordBytes is the size of a record of the chain figure.
const recordBytes = 4096

// chainSuite compares an append that expects and resolves with a publish that does not.
func chainSuite(ctx context.Context, dir string) (*suite, error) {
	b, err := startBroker(ctx, dir)
	if err != nil {
		return nil, err
	}
	s := &suite{close: func() error { b.close(); return nil }}
	subject := log.Subject(log.Stage("profile").Chain, 0)
	genesis, err := b.site.Last(ctx, subject)
	if err != nil {
		b.close()
		return nil, fmt.Errorf("read the genesis: %w", err)
	}
	at, chain, data := genesis.Sequence, log.OpenChain(b.site, subject, clock.Wall{}), make([]byte, recordBytes)
	lane := log.Subject(log.Lane(log.LaneLive), 0)
	count := uint64(0)
	fresh := func() []byte { // records are unique
		count++
		binary.BigEndian.PutUint64(data, count)
		return data
	}
	s.figures = []figure{{
		name: "chain append", unit: "record",
		ours: side{what: "log.Chain.Append of 4 KiB, one after the other", step: func(ctx context.Context) (_ int, err error) {
			at, err = chain.Append(ctx, at, fresh())
			return 1, err
		}},
		bare: side{what: "jetstream.Publish of the same bytes on the same server", step: func(ctx context.Context) (int, error) {
			_, err := b.js.Publish(ctx, lane, fresh())
			return 1, err
		}},
	}}
	return s, nil
}
