package overload

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of the flows of a lane.
type Limits struct {
	// Reason of its refusals.
	Reason Reason
	// Wait is how long what is taken may have to wait for the stages, as far as their pace tells.
	Wait time.Duration
	// Lag is the age of what has waited longest at which nothing more is taken.
	Lag time.Duration
	// Burst is how many events may be under way before the pace is known, which it is while there is much to do: an
	// idle mesh takes that many at once. Until then the stages are taken to do half of it in a second.
	Burst int
	// Least is how many may be whatever the pace.
	Least int
}

// Flows are the flows of all partitions of one lane.
type Flows struct {
	limits   Limits
	all      []Flow
	refusing atomic.Int64
	crowded  atomic.Int64
}

// NewFlows makes flows in which nothing is under way.
func NewFlows(partitions int, l Limits) *Flows {
	f := &Flows{limits: l, all: make([]Flow, partitions)}
	for p := range f.all {
		f.all[p].lane, f.all[p].partition = f, p
	}
	return f
}

// Of is the flow of a partition.
func (f *Flows) Of(partition int) *Flow { return &f.all[partition] }

// Closed is why every partition refuses; nil if one does not. It is cheap, and as old as the last look.
func (f *Flows) Closed(now time.Duration) *RefusedError {
	if f.refusing.Load() < int64(len(f.all)) {
		return nil
	}
	worst := (*RefusedError)(nil)
	for p := range f.all {
		worst = Later(worst, f.all[p].refusal(now))
	}
	return worst
}

// Crowded is how many flows have at least half of what they may have under way. It is as old as the last look
// at each.
func (f *Flows) Crowded() int { return int(f.crowded.Load()) }

// Oldest is the greatest age of all flows, and its partition.
func (f *Flows) Oldest(now time.Duration) (age time.Duration, partition int) {
	for p := range f.all {
		if a := f.all[p].Age(now); a > age {
			age, partition = a, p
		}
	}
	return age, partition
}

// Flow is what one process has under way in a lane of a partition: stored, or about to be, and not known to
// be through all stages. Its window is what the stages did in Limits.Wait of late. Times are readings of a
// monotonic clock. It is safe for concurrent use.
type Flow struct {
	lane      *Flows
	partition int

	mu      sync.Mutex
	storing int    // events taken and not stored yet
	stored  uint64 // events stored since the start
	through uint64 // of those, known to be through
	marks   []mark // what is stored and not known to be through, in order
	rate    float64
	known   bool          // the stages were seen to have much to do and have not had nothing to do since: rate is what they can do
	looked  time.Duration // the end of the last reading of the pace
	refuses bool
	crowded bool
}

// mark says that stored events had been stored up to a sequence, the first of them at a time.
type mark struct {
	sequence, stored uint64
	at               time.Duration
}

// maxMarks bounds the memory of a flow. With more, two neighbours become one, which forgets when the first of
// them is through.
const maxMarks = 64

// Take takes n events if there is room. The caller has to call Stored or Failed for them.
func (f *Flow) Take(n int, now time.Duration) *RefusedError {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.judge(now)
	if f.refuses {
		return f.refused(now)
	}
	f.storing += n
	return nil
}

// Force takes n events whether or not there is room.
func (f *Flow) Force(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.storing += n
}

// Failed says that n events that were taken are not stored, or nobody knows.
func (f *Flow) Failed(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.storing -= n
}

// Stored says that n events that were taken are stored at a sequence, which never decreases.
func (f *Flow) Stored(n int, sequence uint64, now time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.storing -= n
	f.stored += uint64(n) //nolint:gosec // positive
	if last := len(f.marks) - 1; last >= 0 && f.marks[last].sequence == sequence {
		f.marks[last].stored = f.stored
		return
	}
	if len(f.marks) == 0 {
		f.looked = now // it was idle: that was no work
	}
	f.marks = append(f.marks, mark{sequence, f.stored, now})
	if len(f.marks) > maxMarks {
		f.halve()
	}
}

// halve makes one mark of every two, but keeps the last as it is.
func (f *Flow) halve() {
	n := 0
	for i := 0; i+1 < len(f.marks); i += 2 {
		f.marks[n] = mark{f.marks[i+1].sequence, f.marks[i+1].stored, f.marks[i].at}
		n++
	}
	if len(f.marks)%2 == 1 {
		f.marks[n] = f.marks[len(f.marks)-1]
		n++
	}
	f.marks = f.marks[:n]
}

// Waiting says whether anything is stored and not known to be through.
func (f *Flow) Waiting() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.marks) > 0
}

// Covered says that everything up to a sequence is through.
func (f *Flow) Covered(sequence uint64, now time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	busy := 2*f.under() >= f.window()
	before, n := f.through, 0
	for n < len(f.marks) && f.marks[n].sequence <= sequence {
		f.through = f.marks[n].stored
		n++
	}
	f.marks = append(f.marks[:0], f.marks[n:]...)
	f.pace(float64(f.through-before), now, busy && len(f.marks) > 0)
	if f.under() == 0 {
		f.known = false
	}
	f.judge(now)
}

const (
	// smooth is how much a new reading of the pace counts.
	smooth = 0.3
	// patience is for how long nothing may come through before that says anything about the pace: an event takes
	// its time through four stages, however fast they are.
	patience = time.Second
)

// pace reads how fast events come through. Only a flow that has much to do, and still has some, tells that the
// stages cannot do more; of one with little to do no more is known than that they can do that much.
func (f *Flow) pace(came float64, now time.Duration, busy bool) {
	took := now - f.looked
	if took <= 0 || came == 0 && took < patience {
		return
	}
	f.looked = now
	rate := came / took.Seconds()
	switch {
	case !busy:
		f.rate = max(f.rate, rate)
	case f.known:
		f.rate += smooth * (rate - f.rate)
	case came > 0:
		f.rate, f.known = rate, true
	}
}

// under is how many events are under way.
func (f *Flow) under() int { return f.storing + int(f.stored-f.through) } //nolint:gosec // what memory of a log holds

// window is how many may be.
func (f *Flow) window() int {
	least := f.lane.limits.Burst
	if f.known {
		least = f.lane.limits.Least
	}
	return max(least, int(f.rate*f.lane.limits.Wait.Seconds()))
}

// work is how long the stages take for so many events, by what is known of their pace; but while nothing comes
// through, no less than what is under way has waited for by now.
func (f *Flow) work(events int, now time.Duration) time.Duration {
	rate := f.rate
	if !f.known {
		rate = max(rate, float64(f.lane.limits.Burst)/2)
	}
	if rate <= 0 {
		return latest
	}
	work := time.Duration(min(float64(events)/rate, latest.Seconds()) * float64(time.Second))
	if still := now - f.looked; len(f.marks) > 0 && still >= patience {
		work = max(work, still)
	}
	return work
}

// Crowded says that at least half of what may be under way is.
func (f *Flow) Crowded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return 2*f.under() >= f.window()
}

// judge decides whether the flow refuses. Once it does, it goes on until there is a quarter of the window
// free, and the lag is half of what it may be.
func (f *Flow) judge(now time.Duration) {
	under, window, age, lag := f.under(), f.window(), f.age(now), f.lane.limits.Lag
	turn(&f.crowded, 2*under >= window, &f.lane.crowded)
	refuses := under >= window || age > lag
	if f.refuses {
		refuses = 4*under > 3*window || 2*age > lag
	}
	turn(&f.refuses, refuses, &f.lane.refusing)
}

// turn sets a state and counts those who are in it.
func turn(state *bool, to bool, count *atomic.Int64) {
	switch {
	case to && !*state:
		count.Add(1)
	case !to && *state:
		count.Add(-1)
	}
	*state = to
}

func (f *Flow) refusal(now time.Duration) *RefusedError {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refused(now)
}

func (f *Flow) refused(now time.Duration) *RefusedError {
	r := &RefusedError{Reason: f.lane.limits.Reason, After: again(f.work(f.under()-f.window()*3/4, now))}
	if f.age(now) > f.lane.limits.Lag {
		r.After = latest
	}
	r.Why = fmt.Sprintf("partition %d has %d events on their way, the oldest for %s", f.partition, f.under(), f.age(now).Round(100*time.Millisecond))
	return r
}

// Age is for how long the oldest event that is not known to be through has been stored.
func (f *Flow) Age(now time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.age(now)
}

func (f *Flow) age(now time.Duration) time.Duration {
	if len(f.marks) == 0 {
		return 0
	}
	return max(0, now-f.marks[0].at)
}
