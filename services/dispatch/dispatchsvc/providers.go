package dispatchsvc

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/window"
	"refrain.dev/services/dispatch/dispatchsvc/channel"
)

const (
	defaultTimeout     = 10 * time.Second
	defaultConcurrency = 8
	// aroundCall is what a send may wait for room, and again what it may take for a fresh view, the last
	// check and rendering.
	aroundCall = 10 * time.Second
	// margin is kept between the end of a call and the belief that it has ended.
	margin = 30 * time.Second

	breakerFailures = 5
	breakerDelay    = 15 * time.Second
)

// provider is one channel as it is used: its adapter, and what keeps it from harm and from harming others.
type provider struct {
	adapter channel.Adapter
	timeout time.Duration
	pacer   *pacer // nil: no pacing
	slots   *slots
	breaker *breaker
	queue   *queue // of those who wait for the three
}

// providers makes one provider per tenant and content of a channel's definition, on first use: no tenant waits for room,
// or for a provider that keeps failing, because of what another one sends.
type providers struct {
	options channel.Options
	clock   clock.Clock
	// others are the kinds of adapters that were given from outside.
	others map[string]channel.Factory

	mu    sync.Mutex
	built map[string]*provider
}

func newProviders(o channel.Options, c clock.Clock, others map[string]channel.Factory) *providers {
	return &providers{options: o, clock: c, others: others, built: map[string]*provider{}}
}

// get returns the provider of a tenant's channel. An error says that the channel cannot be used as it is set up.
func (p *providers) get(tenant, name string, def *definitionv1.Channel) (*provider, error) {
	if def == nil {
		return nil, fmt.Errorf("no channel %q", name)
	}
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(def)
	if err != nil {
		return nil, fmt.Errorf("encode channel %s: %w", name, err)
	}
	sum := sha256.Sum256(content)
	key := tenant + "/" + name + "/" + hex.EncodeToString(sum[:])
	p.mu.Lock()
	defer p.mu.Unlock()
	if have, ok := p.built[key]; ok {
		return have, nil
	}
	build := channel.Build
	if other := p.others[def.GetAdapter()]; other != nil {
		build = other
	}
	adapter, err := build(def, p.of(tenant))
	if err != nil {
		return nil, fmt.Errorf("channel %s: %w", name, err)
	}
	made := newProvider(adapter, def, p.clock)
	p.built[key] = made
	return made, nil
}

// of are the options for a tenant's adapters: the relative paths of all but the default tenant lead to a directory of
// its name.
func (p *providers) of(tenant string) channel.Options {
	o := p.options
	if tenant != defaultTenant {
		o.DataDir = filepath.Join(o.DataDir, tenant)
	}
	return o
}

func newProvider(adapter channel.Adapter, def *definitionv1.Channel, c clock.Clock) *provider {
	made := &provider{
		adapter: adapter,
		timeout: timeout(def),
		slots:   newSlots(cmp.Or(int(def.GetConcurrency()), defaultConcurrency), aroundCall, c),
		breaker: newBreaker(breakerFailures, breakerDelay, c),
	}
	if r := def.GetRate(); r > 0 {
		made.pacer = newPacer(r, c)
	}
	made.queue = newQueue(made.breaker, made.pacer, made.slots, c)
	return made
}

// close gives back all adapters.
func (p *providers) close() error {
	p.mu.Lock()
	built := p.built
	p.built = map[string]*provider{}
	p.mu.Unlock()
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(built)) {
		errs = append(errs, built[key].adapter.Close())
	}
	return errors.Join(errs...)
}

// timeout is how long one call to a channel's provider may take.
func timeout(def *definitionv1.Channel) time.Duration {
	period, err := window.ParsePeriod(def.GetTimeout())
	if err != nil {
		return defaultTimeout
	}
	d, err := period.Duration()
	if err != nil || d <= 0 {
		return defaultTimeout
	}
	return d
}

// settings is a channel as the state machine knows it; nil is a channel that is gone. A channel whose adapter
// was given from outside is asked what became of an attempt; if it cannot say, nobody knows.
func settings(def *definitionv1.Channel, others map[string]channel.Factory) delivery.Channel {
	settle := timeout(def) + 2*aroundCall + margin
	looksUp := channel.LooksUp(def) || others[def.GetAdapter()] != nil
	return delivery.Channel{Settle: settle, Watch: settle, LooksUp: looksUp}
}
