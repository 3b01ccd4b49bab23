package dispatchsvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/failpoint"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/telemetry"
)

// pingEvery is how often a partition is pinged while there is something to send.
const pingEvery = time.Second

// errForgot says that a lane is shorter than what was read from it before.
var errForgot = errors.New("the control lane has lost messages")

// pings are barriers in the control lanes. One that was begun at m0, by our own monotonic clock, and is covered
// by a reader of the lane proves that the reader has taken everything that was acknowledged before m0.
type pings struct {
	pinger log.Pinger
	clock  clock.Clock
	// reference is told when pings are stored: by a clock that is not the log's quiet hours and expiry would be
	// judged wrongly, and nobody is contacted.
	reference *clock.Reference
	owner     string
	points    failpoint.Points
	logger    *slog.Logger

	mu    sync.Mutex
	lanes map[int]*lanePings
}

// lanePings are those of one partition.
type lanePings struct {
	turn clock.Lock // for who pings

	mu      sync.Mutex
	sent    []sentPing // oldest first, all younger than maxStale when the last was sent
	tried   bool
	last    time.Duration // when the last one was begun that was stored, by Elapsed; only if tried
	refused error         // what stands against all
	forgot  bool
	noted   bool
	seen    uint64 // the greatest position that a reader of the lane has told; only if noted
}

type sentPing struct {
	sequence uint64
	at       time.Duration // by Elapsed
}

func newPings(pinger log.Pinger, c clock.Clock, logger *slog.Logger) *pings {
	return &pings{pinger: pinger, clock: c, reference: clock.NewReference(c), logger: logger, lanes: map[int]*lanePings{}}
}

func (p *pings) of(partition int) *lanePings {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lanes[partition] == nil {
		p.lanes[partition] = &lanePings{turn: clock.NewLock()}
	}
	return p.lanes[partition]
}

// ping appends a ping unless the last one is younger than pingEvery. An error says why no ping of this
// partition counts at present.
func (p *pings) ping(ctx context.Context, partition int) error {
	l := p.of(partition)
	release, err := l.turn.Take(ctx, p.clock)
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	defer release()
	m0 := p.clock.Elapsed()
	if rest, refused := l.rests(m0); rest && !errors.Is(p.reference.Check(), clock.ErrUnread) {
		return refused
	}
	mark := p.reference.Mark()
	stored, err := log.Ping(ctx, p.pinger, partition, p.owner, p.clock.Now())
	if err != nil {
		return err //nolint:wrapcheck // says what failed
	}
	p.points.At("dispatch.pinged")
	if err = p.reference.Read(mark, stored.Time); err != nil {
		err = fmt.Errorf("sending stops: %w", err)
	}
	if err = l.keep(sentPing{sequence: stored.Sequence, at: m0}, err); err != nil {
		p.logger.WarnContext(ctx, "nothing is sent", slog.Int(telemetry.KeyPartition, partition), slog.Any(telemetry.KeyError, err))
	}
	return err
}

// rests says that the last ping is young enough, and what stood against it.
func (l *lanePings) rests(now time.Duration) (rest bool, refused error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tried && now-l.last < pingEvery, l.refused
}

// keep remembers a ping that was stored. With an error it does not count, and no earlier one does any more.
func (l *lanePings) keep(ping sentPing, refused error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Once a lane has begun anew, nobody knows what its reader has missed, however long it grows.
	if l.forgot = l.forgot || l.noted && ping.sequence <= l.seen; l.forgot {
		refused = errForgot
	}
	l.tried, l.last, l.refused = true, ping.at, refused
	if refused != nil {
		l.sent = nil
		return refused
	}
	l.sent = slices.DeleteFunc(l.sent, func(old sentPing) bool { return ping.at-old.at > maxStale })
	l.sent = append(l.sent, ping)
	return nil
}

// note keeps in mind up to where a reader of the lane has come.
func (l *lanePings) note(position uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noted, l.seen = true, max(l.seen, position)
}

// known says whether note was called: without it a lane that was made anew would not be noticed.
func (l *lanePings) known() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.noted
}

// covered is when the newest ping was begun that a position covers; false if none is.
func (l *lanePings) covered(position uint64) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ping := range slices.Backward(l.sent) {
		if ping.sequence <= position {
			return ping.at, true
		}
	}
	return 0, false
}
