package logtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
)

// Torture works on a log as a mesh does while somebody else breaks it: on every chain several processes take
// over from each other and append, others publish, feeds read along, new feeds begin in the middle. Everything
// that the log answered is noted, and Verify holds the log to it.
type Torture struct {
	// Seed decides what the processes do; what the log answers, and when, it does not.
	Seed uint64
	// Sites are the processes' own views of one log.
	Sites []log.Site
	// Groups are chains, those of one stream together.
	Groups [][]string
	// Lanes are subjects of one stream that are published to.
	Lanes []string

	mu       sync.Mutex
	attempts map[string]attempt // by id
	acked    map[string][]uint64
	runs     []run
	stale    int
	wrong    []error
	readers  []*reader
	stop     context.CancelFunc // of the readers
	reading  sync.WaitGroup
}

// outcome is what the log said about an append or a publish.
type outcome int

const (
	unknown outcome = iota // nothing: it may be there, once
	acked                  // it is there
	lost                   // another's record is there instead
	refused                // it is not there and never will be
	outcomes
)

func (o outcome) String() string { return [...]string{"unknown", "acknowledged", "lost", "refused"}[o] }

type attempt struct {
	subject  string
	expect   uint64 // 0 for a publish
	outcome  outcome
	sequence uint64 // if acknowledged
	told     time.Time
}

// Times that a process may take. A patient one waits until it knows; one that is not leaves the fate of its
// append open, as if it had died.
const (
	patience   = time.Minute
	impatience = 400 * time.Millisecond
	idle       = 300 * time.Millisecond
)

// Run works until ctx ends and every process knows the fate of its last append or has given up on it. Feeds
// read on until Verify.
func (t *Torture) Run(ctx context.Context) {
	t.attempts, t.acked = map[string]attempt{}, map[string][]uint64{}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	t.stop = stop
	var work sync.WaitGroup
	for i := range t.Sites {
		for g, group := range t.Groups {
			t.read(life, i, group)
			for c, chain := range group {
				p := t.process(i, chain, uint64(g*100+c))
				work.Go(func() { p.own(ctx) })
			}
		}
		t.read(life, i, t.Lanes)
		for l, lane := range t.Lanes {
			p := t.process(i, lane, uint64(9000+l))
			work.Go(func() { p.publish(ctx) })
		}
		p := t.process(i, "", 9999)
		work.Go(func() { p.reopen(ctx) })
	}
	work.Wait()
}

// process is one goroutine's part of a process.
type process struct {
	*Torture
	number  int
	site    log.Site
	subject string
	rng     *rand.Rand
	made    int
}

func (t *Torture) process(i int, subject string, salt uint64) *process {
	rng := rand.New(rand.NewPCG(t.Seed, uint64(i)<<32+salt)) //nolint:gosec // a test
	return &process{Torture: t, number: i, site: t.Sites[i], subject: subject, rng: rng}
}

// rest waits for a random time; false when ctx ended.
func (p *process) rest(ctx context.Context, most time.Duration) bool {
	return clock.Sleep(ctx, clock.Wall{}, time.Duration(p.rng.Int64N(int64(most)))) == nil
}

// record makes data that nobody else makes, after prev.
func (p *process) record(prev uint64) (id string, data []byte) {
	p.made++
	id = fmt.Sprintf("%s/%d/%d", p.subject, p.number, p.made)
	size := p.rng.IntN(200)
	if p.rng.IntN(20) == 0 {
		size = 50_000
	}
	return id, fmt.Appendf(nil, "record %s %d %s", id, prev, strings.Repeat("x", size))
}

// parse reads the id and prev of a record; false for a genesis.
func parse(data []byte) (id string, prev uint64, ok bool) {
	n, err := fmt.Sscanf(string(data), "record %s %d", &id, &prev)
	return id, prev, err == nil && n == 2
}

// own takes the chain over again and again, each time as a new owner that knows nothing.
func (p *process) own(ctx context.Context) {
	for p.rest(ctx, idle) {
		at, err := p.last(ctx)
		if err != nil {
			continue
		}
		chain := log.OpenChain(p.site, p.subject, clock.Wall{})
		for range 1 + p.rng.IntN(60) {
			next, ok := p.append(ctx, chain, at)
			if !ok {
				break
			}
			at = next
			if !p.rest(ctx, idle/20) {
				return
			}
		}
	}
}

// last reads where the chain is. A chain that is empty lost its genesis.
func (p *process) last(ctx context.Context) (uint64, error) {
	m, err := p.site.Last(ctx, p.subject)
	if errors.Is(err, log.ErrNotFound) {
		p.reportf("last of %s: %w", p.subject, err)
	}
	return m.Sequence, err
}

func (p *process) append(ctx context.Context, chain *log.Chain, expect uint64) (uint64, bool) {
	id, data := p.record(expect)
	limit := patience
	switch p.rng.IntN(20) {
	case 0:
		limit = time.Duration(p.rng.Int64N(int64(impatience)))
	case 1:
		limit = time.Duration(p.rng.Int64N(int64(impatience / 50)))
	}
	// Nobody drops an append because the test ends.
	try, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	sequence, err := chain.Append(try, expect, data)
	a := attempt{subject: p.subject, expect: expect, sequence: sequence, told: time.Now()}
	switch {
	case err == nil:
		a.outcome = acked
		p.checkFresh(ctx, sequence)
	case errors.Is(err, log.ErrLost):
		a.outcome = lost
	case errors.Is(err, log.ErrUnknown) && try.Err() != nil && limit < patience:
		a.outcome = unknown
	case errors.Is(err, log.ErrUnknown):
		p.reportf("an append was not answered in %s: %w", limit, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, log.ErrFull):
		a.outcome = refused
	default:
		p.reportf("append: %w", err)
	}
	p.note(id, a)
	return sequence, err == nil
}

// checkFresh counts how often the end of the chain is read as it was before an acknowledged append. The
// protocol bears that; it is told because nobody should rely on the contrary.
func (p *process) checkFresh(ctx context.Context, sequence uint64) {
	if p.rng.IntN(10) > 0 {
		return
	}
	if at, err := p.last(ctx); err == nil && at < sequence {
		p.mu.Lock()
		p.stale++
		p.mu.Unlock()
	}
}

// publish publishes to a lane.
func (p *process) publish(ctx context.Context) {
	for p.rest(ctx, idle/4) {
		id, data := p.record(0)
		sequence, err := p.site.Publish(ctx, p.subject, data)
		a := attempt{subject: p.subject, sequence: sequence}
		switch {
		case err == nil:
			a.outcome = acked
		case errors.Is(err, log.ErrFull):
			a.outcome = refused
		case errors.Is(err, log.ErrUnknown), ctx.Err() != nil:
		default:
			p.reportf("publish: %w", err)
		}
		p.note(id, a)
	}
}

func (t *Torture) note(id string, a attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.attempts[id] = a
	if a.outcome == acked {
		t.acked[a.subject] = append(t.acked[a.subject], a.sequence)
	}
}

func (t *Torture) reportf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrong = append(t.wrong, fmt.Errorf(format, args...))
}

// Counts says how many appends were acknowledged, and how many lost against another's.
func (t *Torture) Counts() (acknowledged, others int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.attempts {
		switch {
		case a.expect == 0:
		case a.outcome == acked:
			acknowledged++
		case a.outcome == lost:
			others++
		}
	}
	return acknowledged, others
}

// String says how much happened.
func (t *Torture) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var counts [2][outcomes]int
	for _, a := range t.attempts {
		kind := 0
		if a.expect == 0 {
			kind = 1
		}
		counts[kind][a.outcome]++
	}
	return fmt.Sprintf("appends: %d acknowledged, %d lost, %d unknown, %d refused; published: %d, %d unknown; feeds opened: %d; stale reads: %d",
		counts[0][acked], counts[0][lost], counts[0][unknown], counts[0][refused], counts[1][acked], counts[1][unknown],
		len(t.runs), t.stale)
}
