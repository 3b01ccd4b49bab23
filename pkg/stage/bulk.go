package stage

import (
	"context"
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

const (
	// bulkAhead is how many messages of the bulk lane the first stage may be ahead of the stage that is
	// furthest behind in the same partition: an import never grows a backlog in front of what happens now.
	bulkAhead = 64
	// bulkLook is how often a held bulk lane looks whether the later stages have caught up.
	bulkLook = 100 * time.Millisecond
)

// bulk is how far the bulk lane has been read and how far what follows from it has come.
type bulk struct {
	taken  []uint64 // messages that are not known to be through all stages, in order
	held   bool
	looked time.Duration
}

// note counts a message of the bulk lane that was taken.
func (b *bulk) note(sequence uint64) {
	if n := len(b.taken); n == 0 || b.taken[n-1] < sequence {
		b.taken = append(b.taken, sequence)
	}
}

// holdBulk says whether the bulk lane has to wait for the stages after this one.
func (p *partition) holdBulk(ctx context.Context) bool {
	b := &p.bulk
	if len(b.taken) < bulkAhead {
		b.held = false
		return false
	}
	now := p.ports.Clock.Elapsed()
	if b.held && now-b.looked < bulkLook {
		return true
	}
	b.held, b.looked = true, now
	through, err := p.bulkThrough(ctx)
	if err != nil {
		return true // later
	}
	for len(b.taken) > 0 && b.taken[0] <= through {
		b.taken = b.taken[1:]
	}
	b.held = len(b.taken) >= bulkAhead
	return b.held
}

// bulkThrough is the position of the bulk lane that has passed every later stage of the partition.
func (p *partition) bulkThrough(ctx context.Context) (uint64, error) {
	var later []string
	for _, s := range log.Stages() {
		if s.Name != p.cfg.Spec.Name {
			later = append(later, s.Name)
		}
	}
	view, err := p.ports.Store.Read(ctx, p.number, state.Query{Metas: later})
	if err != nil {
		return 0, err
	}
	through := ^uint64(0)
	for _, name := range later {
		through = min(through, view.Metas[name].Origins[log.LaneBulk])
	}
	return through, nil
}
