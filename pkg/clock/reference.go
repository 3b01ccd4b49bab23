package clock

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// MaxSkew is by how much the time of day of a process may differ from the reference's.
const MaxSkew = 2 * time.Second

const (
	// readEvery is how old a reading becomes before the next append is read back.
	readEvery = 4 * time.Second
	// readLasts is how long the monotonic clock is trusted to carry a reading on.
	readLasts = 5 * time.Minute
	// refusedFor is how long a proof stands without another reading.
	refusedFor = 5 * time.Second
	// moved is a change of the time of day that makes a proof void: it was set.
	moved = 200 * time.Millisecond
	// looks is how often a reading that took too long to say much is taken again before it is believed.
	looks = 3
	// drift is how far two clocks may come apart: one second in this many.
	drift = 5000
)

// ErrUnread says that nothing proves the time of day right at present: a reading has to be taken first.
var ErrUnread = errors.New("the clock is to be compared with the log's first")

// SkewError says that the time of day of this process is proven to be wrong.
type SkewError struct {
	// Ahead is by how much it is ahead of the reference at least; negative if it is behind.
	Ahead time.Duration
}

// Error implements error.
func (e *SkewError) Error() string {
	if e.Ahead < 0 {
		return fmt.Sprintf("the clock of this machine is %s behind the log's; set it right", -e.Ahead)
	}
	return fmt.Sprintf("the clock of this machine is %s ahead of the log's; set it right", e.Ahead)
}

// Reference compares the time of day of a process with the times at which another clock, the log's, has stored what
// the process appended. A reading proves the time of day wrong only if the stored time is outside of [time of day
// before the append - MaxSkew, time of day after its acknowledgement + MaxSkew]: a process that is stalled has no
// wrong clock. Between readings the monotonic clock carries the last ones on, so a time of day that is set is
// noticed at once. Under a clock that is released (Released) nothing is compared and nothing refused.
//
// It is safe for concurrent use and never waits.
type Reference struct {
	clock Clock

	mu      sync.Mutex
	known   bool
	at      time.Duration // of the last reading, by Elapsed
	lo, hi  time.Time     // the reference's time was between these when Elapsed was at
	refused *SkewError    // what the last reading proved
	offset  time.Duration // of the time of day to Elapsed, at the last reading
	vague   int           // readings in a row after which the time is known to no less than MaxSkew
}

// Released is implemented by clocks whose time is driven by what is replayed.
type Released interface {
	// Released reports whether the time is released at present, and no time of day.
	Released() bool
}

// NewReference returns a Reference for a clock. It knows nothing before the first reading.
func NewReference(c Clock) *Reference { return &Reference{clock: c} }

// Off reports whether nothing is compared: the clock is released.
func (r *Reference) Off() bool {
	c, ok := r.clock.(Released)
	return ok && c.Released()
}

// Mark is a moment before an append.
type Mark struct {
	wall    time.Time
	elapsed time.Duration
}

// Mark is the present moment, to be taken before the append that Read will speak of.
func (r *Reference) Mark() Mark { return Mark{wall: r.clock.Now(), elapsed: r.clock.Elapsed()} }

// offset tells a time of day that was set from one that goes on.
func (m Mark) offset() time.Duration { return time.Duration(m.wall.UnixNano()) - m.elapsed }

// Due reports whether the next append should be read back.
func (r *Reference) Due() bool {
	if r.Off() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.known || r.clock.Elapsed()-r.at >= readEvery
}

// Read takes a reading: what was begun at m and has been acknowledged by now was stored at a time of the
// reference's. A *SkewError says that it proves the time of day wrong.
func (r *Reference) Read(m Mark, stored time.Time) error {
	if r.Off() {
		return nil
	}
	now := r.Mark()
	took := max(0, now.elapsed-m.elapsed)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.narrow(now.elapsed, stored, stored.Add(took))
	// Where the time of day was set meanwhile, the present one is judged.
	early := now.wall.Add(-took)
	if m.wall.Before(early) {
		early = m.wall
	}
	r.offset, r.refused = now.offset(), nil
	switch {
	case stored.After(now.wall.Add(MaxSkew)):
		r.refused = &SkewError{Ahead: now.wall.Sub(stored)}
	case stored.Before(early.Add(-MaxSkew)):
		r.refused = &SkewError{Ahead: early.Sub(stored)}
	}
	if r.refused != nil {
		return r.refused
	}
	return nil
}

// narrow takes in that the reference's time is between lo and hi now: with what is known, unless that contradicts.
func (r *Reference) narrow(now time.Duration, lo, hi time.Time) {
	if r.known {
		was, is := r.carried(now)
		if was.Before(hi) && lo.Before(is) {
			lo, hi = later(lo, was), earlier(hi, is)
		}
	}
	r.known, r.at, r.lo, r.hi = true, now, lo, hi
	if hi.Sub(lo) <= MaxSkew {
		r.vague = 0
		return
	}
	r.vague++
}

// carried is between which times the reference's is now, by the monotonic clock.
func (r *Reference) carried(now time.Duration) (lo, hi time.Time) {
	age := max(0, now-r.at)
	return r.lo.Add(age - age/drift), r.hi.Add(age + age/drift)
}

// Seen takes in that the reference has shown a time by now. One that is later than all readings say makes them void:
// the monotonic clock stood still.
func (r *Reference) Seen(stored time.Time) {
	if r.Off() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, hi := r.carried(r.clock.Elapsed()); r.known && stored.After(hi.Add(MaxSkew)) {
		r.known = false
	}
}

// Now is the time of day, if it is proven right. ErrUnread: a reading has to be taken first. *SkewError: the last
// one proved it wrong, and it was not set since.
func (r *Reference) Now() (time.Time, error) {
	if r.Off() {
		return r.clock.Now(), nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.Mark()
	age := now.elapsed - r.at
	lo, hi := r.carried(now.elapsed)
	switch {
	case !r.known, r.vague > 0 && r.vague < looks:
		return time.Time{}, ErrUnread
	case r.refused != nil && (now.offset()-r.offset).Abs() < moved:
		if age >= refusedFor {
			return time.Time{}, ErrUnread
		}
		return time.Time{}, r.refused
	case age >= readLasts, now.wall.Before(lo.Add(-MaxSkew)), now.wall.After(hi.Add(MaxSkew)):
		return time.Time{}, ErrUnread
	}
	return now.wall, nil
}

// Check is Now without the time.
func (r *Reference) Check() error {
	_, err := r.Now()
	return err
}

// Latest is the latest that the reference's time can be now; false while nothing is known, or nothing is compared.
func (r *Reference) Latest() (time.Time, bool) {
	if r.Off() {
		return time.Time{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, hi := r.carried(r.clock.Elapsed())
	return hi, r.known
}

// Time is the best that is known of the time: the time of day if no reading speaks against it, else what the
// readings say. It is for stamps and reports; decisions ask Now.
func (r *Reference) Time() time.Time {
	if r.Off() {
		return r.clock.Now()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	wall := r.clock.Now()
	lo, hi := r.carried(r.clock.Elapsed())
	if !r.known || !wall.Before(lo.Add(-MaxSkew)) && !wall.After(hi.Add(MaxSkew)) {
		return wall
	}
	return lo.Add(hi.Sub(lo) / 2)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Clock is the process's clock with the best that is known of the time (Time) as its Now, for what stamps and
// reports.
func (r *Reference) Clock() Clock { return told{r.clock, r} }

type told struct {
	Clock

	reference *Reference
}

// Now implements Clock.
func (t told) Now() time.Time { return t.reference.Time() }

// Released implements Released.
func (t told) Released() bool { return t.reference.Off() }
