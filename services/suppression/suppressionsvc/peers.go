package suppressionsvc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc/metadata"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"

	"refrain.dev/pkg/run"
)

// passedOnKey marks a request that another replica has passed on: it goes no further, so that replicas that
// disagree about who owns a partition never pass it round.
const passedOnKey = "refrain-passed-on"

// mark is the context of a request that is passed on. The caller's deadline stays.
func mark(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, passedOnKey, "1")
}

// isPassedOn says whether a request was passed on by another replica.
func isPassedOn(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, passedOnKey)) > 0
}

// peers are connections to the other replicas of the service, each kept while that replica is to own anything.
type peers struct {
	locate     func(partition int) string
	dial       func(address string) (run.Conn, error)
	partitions int

	mu    sync.Mutex
	conns map[string]run.Conn
}

func newPeers(deps run.Deps) *peers {
	p := &peers{locate: deps.Locate, dial: deps.Dial, partitions: deps.Generation.Partitions, conns: map[string]run.Conn{}}
	if p.locate == nil {
		p.locate = func(int) string { return "" }
	}
	return p
}

// Owner implements Peers.
func (p *peers) Owner(partition int) (contactv1.ContactServiceClient, error) {
	address := p.locate(partition)
	if address == "" {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	conn := p.conns[address]
	if conn == nil {
		p.forget()
		var err error
		if conn, err = p.dial(address); err != nil {
			return nil, fmt.Errorf("connect to the owner of partition %d: %w", partition, err)
		}
		p.conns[address] = conn
	}
	return contactv1.NewContactServiceClient(conn), nil
}

// forget closes the connections to replicas that own nothing any more; what is under way there is tried again
// by its callers. The caller holds mu.
func (p *peers) forget() {
	used := map[string]bool{}
	for n := range p.partitions {
		used[p.locate(n)] = true
	}
	for _, address := range slices.Sorted(maps.Keys(p.conns)) {
		if !used[address] {
			_ = p.conns[address].Close()
			delete(p.conns, address)
		}
	}
}

// close closes all connections.
func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, address := range slices.Sorted(maps.Keys(p.conns)) {
		_ = p.conns[address].Close()
		delete(p.conns, address)
	}
}
