package dispatchsvc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

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
	limiter *rate.Limiter // nil: no pacing
	slots   *slots
	breaker circuitbreaker.CircuitBreaker[any]
}

// providers makes one provider per content of a channel's definition, on first use.
type providers struct {
	options channel.Options

	mu    sync.Mutex
	built map[string]*provider
}

func newProviders(o channel.Options) *providers {
	return &providers{options: o, built: map[string]*provider{}}
}

// get returns the provider of a channel. An error says that the channel cannot be used as it is set up.
func (p *providers) get(name string, def *definitionv1.Channel) (*provider, error) {
	if def == nil {
		return nil, fmt.Errorf("no channel %q", name)
	}
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(def)
	if err != nil {
		return nil, fmt.Errorf("encode channel %s: %w", name, err)
	}
	sum := sha256.Sum256(content)
	key := name + "/" + hex.EncodeToString(sum[:])
	p.mu.Lock()
	defer p.mu.Unlock()
	if have, ok := p.built[key]; ok {
		return have, nil
	}
	adapter, err := channel.Build(def, p.options)
	if err != nil {
		return nil, fmt.Errorf("channel %s: %w", name, err)
	}
	made := newProvider(adapter, def)
	p.built[key] = made
	return made, nil
}

func newProvider(adapter channel.Adapter, def *definitionv1.Channel) *provider {
	made := &provider{
		adapter: adapter,
		timeout: timeout(def),
		slots:   newSlots(int(max(def.GetConcurrency(), 1)), aroundCall),
		breaker: circuitbreaker.NewBuilder[any]().WithFailureThreshold(breakerFailures).WithDelay(breakerDelay).Build(),
	}
	if def.GetConcurrency() == 0 {
		made.slots = newSlots(defaultConcurrency, aroundCall)
	}
	if r := def.GetRate(); r > 0 {
		made.limiter = rate.NewLimiter(rate.Limit(r), max(1, int(r)))
	}
	return made
}

// pace waits until the channel's rate allows one more call.
func (p *provider) pace(ctx context.Context) error {
	if p.limiter == nil {
		return nil
	}
	if err := p.limiter.Wait(ctx); err != nil {
		return fmt.Errorf("wait for pacing: %w", err)
	}
	return nil
}

// close gives back all adapters.
func (p *providers) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, b := range p.built {
		errs = append(errs, b.adapter.Close())
	}
	p.built = map[string]*provider{}
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

// settings is a channel as the state machine knows it; nil is a channel that is gone.
func settings(def *definitionv1.Channel) delivery.Channel {
	settle := timeout(def) + 2*aroundCall + margin
	return delivery.Channel{Settle: settle, Watch: settle, LooksUp: channel.LooksUp(def)}
}
