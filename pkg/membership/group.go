package membership

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"refrain.dev/pkg/clock"
)

// Group is a replica's part in sharing the partitions of its service. Join makes it a member, Run keeps it
// one, Leave ends it; what is asked of it meanwhile is answered from memory. It is safe for concurrent use.
type Group struct {
	cfg     Config
	ports   Ports
	metrics *metrics
	turns   clock.Lock    // one renewal or look at a time
	wake    chan struct{} // ends the pause between them

	mu  sync.Mutex // never held while waiting
	own ownLease
	// others by name; those that are not there any more are kept while their lease is.
	others map[string]sighting
	looked time.Duration
	seen   bool // they were ever looked at
	// rival is a newer process with the name of this one.
	rival sighting

	owners   []string            // by partition
	acquired []time.Duration     // by partition, for those that are ours
	members  []string            // that partitions were assigned among
	weights  map[string][]uint64 // of members, by partition
	changed  chan struct{}
}

// ownLease is what is known of the own lease.
type ownLease struct {
	since    time.Time
	state    string
	revision uint64
	written  lease
	// renewed is when the last renewal that succeeded was sent.
	renewed time.Duration
	// next is when the next renewal is due.
	next time.Duration
	// member says that it is held and has time left; was, that it once was.
	member, was bool
	// joined is when the first renewal of these was sent; nothing is owned before a look after that.
	joined time.Duration
	// quiet is until when nothing is owned, after a lease was lost: others that lost theirs too come back.
	quiet time.Duration
	// displaced says that a newer process has the name.
	displaced bool
	troubled  bool // the last turn failed
}

// New makes a group of which nobody is a member yet.
func New(cfg Config, ports Ports) (*Group, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if ports.Logger == nil {
		ports.Logger = slog.New(slog.DiscardHandler)
	}
	if ports.Ready == nil {
		ports.Ready = func(bool) {}
	}
	m, err := newMetrics(ports.Meter)
	if err != nil {
		return nil, err
	}
	now := ports.Clock.Elapsed()
	return &Group{
		cfg: cfg, ports: ports, metrics: m, turns: clock.NewLock(), wake: make(chan struct{}, 1),
		own: ownLease{since: ports.Clock.Now().UTC(), state: stateMember, next: now, quiet: now}, others: map[string]sighting{},
		weights: map[string][]uint64{}, owners: make([]string, cfg.Partitions), acquired: make([]time.Duration, cfg.Partitions), changed: make(chan struct{}),
	}, nil
}

// Owns says whether this replica is to own a partition. It never does after its lease has run out, even if
// nothing was done in this process since.
func (g *Group) Owns(partition int) bool {
	now := g.ports.Clock.Elapsed()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mine(partition) && g.valid(now) && g.own.state == stateMember
}

// Changed is closed when Owns may answer otherwise than when Changed was called.
func (g *Group) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Present says whether another replica of that name is there, or at least not known to be gone.
func (g *Group) Present(replica string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.others[replica].thereAt(g.looked, g.cfg.TTL)
}

// Locate names the address of the replica that is to own a partition, "" if it is this one or nobody knows.
func (g *Group) Locate(partition int) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if partition < 0 || partition >= len(g.owners) || g.mine(partition) {
		return ""
	}
	return g.others[g.owners[partition]].Address
}

// Members lists the replicas that the partitions are shared among, sorted, as far as is known.
func (g *Group) Members() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.members)
}

// mine says whether a partition is assigned to this replica. The caller holds mu.
func (g *Group) mine(partition int) bool {
	return partition >= 0 && partition < len(g.owners) && g.owners[partition] == g.cfg.Replica
}

// valid says whether the own lease has time left. The caller holds mu.
func (g *Group) valid(now time.Duration) bool {
	return g.own.member && now < g.expiry()
}

// expiry is when the own lease is not counted on any more. The caller holds mu.
func (g *Group) expiry() time.Duration { return g.own.renewed + g.cfg.TTL - g.cfg.margin() }

// Leaving says that this replica is about to end: it is to own nothing from now on, and the others take its
// partitions over as it gives them back. It does not wait.
func (g *Group) Leaving() {
	g.mu.Lock()
	if g.own.state != stateLeft {
		g.own.state = stateLeaving
	}
	g.mu.Unlock()
	g.stir()
}

// Standby says that this replica is to own nothing until Able: it goes on to be there, and the others take its partitions
// over as it gives them back. It does not wait.
func (g *Group) Standby() { g.turnTo(stateMember, stateStandby) }

// Able ends Standby. It does not wait.
func (g *Group) Able() { g.turnTo(stateStandby, stateMember) }

// turnTo changes the state of one that is there and stays.
func (g *Group) turnTo(from, to string) {
	g.mu.Lock()
	turned := g.own.state == from
	if turned {
		g.own.state = to
	}
	g.mu.Unlock()
	if turned {
		g.stir()
	}
}

// stir ends the pause between turns.
func (g *Group) stir() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}
