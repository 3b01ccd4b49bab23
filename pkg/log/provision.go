package log

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
)

const (
	lockKey      = "provision/lock"
	lockFor      = 30 * time.Second
	minMaxBytes  = 64 << 20
	secretBytes  = 32
	attemptBytes = 16
	attempts     = 3
	persistTimes = 60
)

// ProvisionConfig says how a generation is provisioned.
type ProvisionConfig struct {
	// MaxBytes of every stream; 0 means DefaultMaxBytes. If the store cannot promise that much, half of it
	// is tried, and so on; what was reached is recorded.
	MaxBytes int64
	// Owner names the provisioner in the lock, for people.
	Owner string
	// Accept names streams that were restored from a backup, or made anew with what was in them given up: of a
	// generation that is ready it is recorded that they are the right ones.
	Accept []string
	// Now is the clock for the lock's lease; nil means the machine's.
	Now func() time.Time
}

// Provision makes the streams of gen and the genesis record of every chain, reads them back and declares
// the generation ready. Nobody else creates streams. If the generation is ready it changes nothing; if
// somebody stopped half-way everything is wiped and made again. Of several at once, one works and the
// others wait for it. A gen without a secret gets a new one. The stored generation is returned; it is an
// error if it differs from gen. Streams of a generation that is ready must be those that were provisioned: with the
// generation the error is an *AnewError for each that is not.
func Provision(ctx context.Context, site Site, gen Generation, cfg ProvisionConfig) (Generation, error) {
	wanted := len(gen.Secret) > 0
	p, err := newProvisioner(site, gen, cfg)
	if err != nil {
		return Generation{}, err
	}
	if err := persist(ctx, func() error { return site.Prepare(ctx, gen.Replicas) }); err != nil {
		return Generation{}, fmt.Errorf("prepare the KV store: %w", err)
	}
	stored, err := p.reach(ctx)
	_, anew := errors.AsType[*AnewError](err)
	if err != nil && !anew {
		return Generation{}, fmt.Errorf("provision generation %d: %w", gen.Number, err)
	}
	if !wanted {
		p.gen.Secret = stored.Secret
	}
	if err := sameGeneration(stored, p.gen); err != nil {
		return Generation{}, fault.As(fault.Invalid, err)
	}
	if anew {
		return stored, fmt.Errorf("generation %d: %w", gen.Number, err)
	}
	return stored, nil
}

// ProvisionMemory returns a Memory in which gen is provisioned; a gen without a secret gets a fixed one
// that is good for tests only.
func ProvisionMemory(ctx context.Context, gen Generation, opts ...MemoryOption) (*Memory, Generation, error) {
	if len(gen.Secret) == 0 {
		gen.Secret = bytes.Repeat([]byte{'s'}, secretBytes)
	}
	m := NewMemory(opts...)
	faults := m.faults
	m.SetFaults(nil)
	g, err := Provision(ctx, m, gen, ProvisionConfig{Owner: "memory"})
	m.SetFaults(faults)
	return m, g, err
}

type provisioner struct {
	site Site
	kv   KV
	gen  Generation
	cfg  ProvisionConfig
	id   string // of this provisioner
}

func newProvisioner(site Site, gen Generation, cfg ProvisionConfig) (*provisioner, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if len(gen.Secret) == 0 {
		gen.Secret = random(secretBytes)
	}
	if err := gen.Validate(); err != nil {
		return nil, err
	}
	return &provisioner{site: site, kv: patientKV{site.KV()}, gen: gen, cfg: cfg, id: hex.EncodeToString(random(attemptBytes))}, nil
}

// random returns n random bytes; crypto/rand does not fail.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// reach returns the generation as stored once it is ready, making it if nobody else does.
func (p *provisioner) reach(ctx context.Context) (Generation, error) {
	for {
		e, revision, err := readGeneration(ctx, p.kv, p.gen.Number)
		if err != nil {
			return Generation{}, err
		}
		if e.State == stateReady {
			return p.compare(ctx, e, revision)
		}
		locked, err := p.lock(ctx)
		if err != nil {
			return Generation{}, err
		}
		if locked {
			g, err := p.make(ctx)
			return g, errors.Join(err, p.unlock(context.WithoutCancel(ctx)))
		}
		if err := clock.Sleep(ctx, clock.Wall{}, pollEvery); err != nil {
			return Generation{}, fmt.Errorf("wait for another provisioner: %w", err)
		}
	}
}

// make is called under the lock.
func (p *provisioner) make(ctx context.Context) (Generation, error) {
	maxBytes := p.cfg.MaxBytes
	var failed error
	for n := 0; n < attempts; n++ {
		e, revision, err := readGeneration(ctx, p.kv, p.gen.Number)
		if err != nil {
			return Generation{}, err
		}
		if e.State == stateReady {
			return e.Generation, nil
		}
		e = generationEntry{
			Generation: p.gen, State: stateMaking, MaxBytes: maxBytes, Attempt: hex.EncodeToString(random(attemptBytes)),
		}
		failed = p.attempt(ctx, e, revision)
		switch {
		case failed == nil:
			e, _, err := readGeneration(ctx, p.kv, p.gen.Number)
			return e.Generation, err
		case ctx.Err() != nil:
			return Generation{}, failed
		case errors.Is(failed, ErrFull) && maxBytes/2 >= minMaxBytes:
			maxBytes /= 2
			n = -1
		}
	}
	return Generation{}, failed
}

// attempt wipes, makes, reads back and declares ready.
func (p *provisioner) attempt(ctx context.Context, e generationEntry, revision uint64) error {
	revision, err := p.swap(ctx, generationKey(e.Number), e, revision)
	if err != nil {
		return err
	}
	configs := e.StreamConfigs(e.MaxBytes)
	for _, c := range configs {
		if err := p.renew(ctx); err != nil {
			return err
		}
		if err := persist(ctx, func() error { return p.site.DeleteStream(ctx, c.Name) }); err != nil {
			return fmt.Errorf("wipe stream %s: %w", c.Name, err)
		}
	}
	for _, c := range configs {
		if err := persist(ctx, func() error { return p.site.CreateStream(ctx, c) }); err != nil {
			return fmt.Errorf("create stream %s: %w", c.Name, err)
		}
	}
	for _, c := range configs {
		if err := p.begin(ctx, c); err != nil {
			return err
		}
	}
	if err := p.renew(ctx); err != nil {
		return err
	}
	if err := p.identify(ctx, &e); err != nil {
		return err
	}
	e.State = stateReady
	_, err = p.swap(ctx, generationKey(e.Number), e, revision)
	return err
}

// begin writes the genesis of every chain of one stream, one after the other, and reads all of it back.
func (p *provisioner) begin(ctx context.Context, want StreamConfig) error {
	chains := want.chains
	records := make([][]byte, len(chains))
	for i, subject := range chains {
		genesis := &stagev1.Record{
			Generation: p.gen.Number, Id: random(attemptBytes), Owner: p.cfg.Owner, Kind: stagev1.RecordKind_RECORD_KIND_GENESIS,
		}
		data, err := genesis.MarshalVT()
		if err != nil {
			return fault.New(fault.Internal, "encode genesis: %w", err)
		}
		records[i] = data
		err = persist(ctx, func() error { return p.site.Begin(ctx, subject, uint64(i)+1, data) })
		// If a message is there already, the reading below tells whether it is ours.
		if _, taken := errors.AsType[*ConflictError](err); err != nil && !taken {
			return fmt.Errorf("write genesis of %s: %w", subject, err)
		}
	}
	for i, subject := range chains {
		var m Message
		err := persist(ctx, func() (err error) {
			m, err = p.site.Last(ctx, subject)
			return err
		})
		if err != nil {
			return fmt.Errorf("read genesis of %s: %w", subject, err)
		}
		if m.Sequence != uint64(i)+1 || !bytes.Equal(m.Data, records[i]) {
			return fault.New(fault.Conflict, "read genesis of %s: another's record is there, at %d", subject, m.Sequence)
		}
	}
	var got StreamConfig
	err := persist(ctx, func() (err error) {
		got, err = p.site.Stream(ctx, want.Name)
		return err
	})
	if err != nil {
		return fmt.Errorf("read stream %s: %w", want.Name, err)
	}
	return errors.Join(want.difference(got)...)
}

// persist repeats what may be repeated while the broker gives no answer: streams and clusters need a
// moment to elect their leaders.
func persist(ctx context.Context, do func() error) error {
	pause := firstPause
	for n := 1; ; n++ {
		err := do()
		again := errors.Is(err, ErrUnknown) || errors.Is(err, ErrPending)
		if !again || n == persistTimes {
			return err
		}
		if werr := clock.Sleep(ctx, clock.Wall{}, pause); werr != nil {
			return fmt.Errorf("%w: %w", werr, err)
		}
		pause = min(2*pause, lastPause)
	}
}

// patientKV repeats reads.
type patientKV struct{ KV }

// Get implements KV.
func (k patientKV) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	err = persist(ctx, func() (err error) {
		value, revision, err = k.KV.Get(ctx, key)
		return err
	})
	return value, revision, err
}

type lease struct {
	Owner string    `json:"owner"`
	ID    string    `json:"id"`
	Until time.Time `json:"until"`
	Nonce string    `json:"nonce"`
}

// lock takes the provisioner's lock if it is free or its lease has run out.
func (p *provisioner) lock(ctx context.Context) (bool, error) {
	held, revision, err := p.held(ctx)
	if err != nil {
		return false, err
	}
	if held.ID != p.id && p.cfg.Now().Before(held.Until) {
		return false, nil
	}
	_, err = p.swap(ctx, lockKey, p.newLease(lockFor), revision)
	if _, lost := errors.AsType[*ConflictError](err); lost {
		return false, nil
	}
	return err == nil, err
}

// renew prolongs the lease, or fails if the lock is not ours any more.
func (p *provisioner) renew(ctx context.Context) error {
	held, revision, err := p.held(ctx)
	if err != nil {
		return err
	}
	if held.ID != p.id {
		return fault.New(fault.Conflict, "renew the provisioner's lock: %s has taken it over", held.Owner)
	}
	_, err = p.swap(ctx, lockKey, p.newLease(lockFor), revision)
	return err
}

func (p *provisioner) unlock(ctx context.Context) error {
	held, revision, err := p.held(ctx)
	if err != nil || held.ID != p.id {
		return err
	}
	_, err = p.swap(ctx, lockKey, p.newLease(0), revision)
	return err
}

func (p *provisioner) newLease(d time.Duration) lease {
	return lease{Owner: p.cfg.Owner, ID: p.id, Until: p.cfg.Now().Add(d), Nonce: hex.EncodeToString(random(attemptBytes))}
}

func (p *provisioner) held(ctx context.Context) (lease, uint64, error) {
	value, revision, err := p.kv.Get(ctx, lockKey)
	if errors.Is(err, ErrNotFound) {
		return lease{}, 0, nil
	}
	if err != nil {
		return lease{}, 0, fmt.Errorf("read the provisioner's lock: %w", err)
	}
	var l lease
	if err := json.Unmarshal(value, &l); err != nil {
		return lease{}, 0, fault.New(fault.Internal, "decode the provisioner's lock: %w", err)
	}
	return l, revision, nil
}

// swap stores a value that is unlike any other under a key that is at revision, and returns the new one.
// Lost answers are resolved by repeating and reading.
func (p *provisioner) swap(ctx context.Context, key string, v any, revision uint64) (uint64, error) {
	value, err := json.Marshal(v)
	if err != nil {
		return 0, fault.New(fault.Internal, "encode %s: %w", key, err)
	}
	for {
		err := p.kv.Update(ctx, key, value, revision)
		_, conflict := errors.AsType[*ConflictError](err)
		if err != nil && !conflict && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrPending) {
			return 0, fmt.Errorf("write %s: %w", key, err)
		}
		stored, now, rerr := p.kv.Get(ctx, key)
		switch {
		case rerr == nil && bytes.Equal(stored, value):
			return now, nil
		case conflict && (rerr == nil || errors.Is(rerr, ErrNotFound)):
			return 0, fmt.Errorf("write %s: %w", key, err)
		case rerr != nil && !errors.Is(rerr, ErrUnknown) && !errors.Is(rerr, ErrNotFound):
			return 0, fmt.Errorf("read %s: %w", key, rerr)
		}
		if err := clock.Sleep(ctx, clock.Wall{}, firstPause); err != nil {
			return 0, err
		}
	}
}
