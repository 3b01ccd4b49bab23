package stage

import "context"

// Runner runs stages: each owned partition on its own, or step by step, driven from outside, under the
// replay clock. Stages do not know which.
type Runner interface {
	// Run runs s until ctx ends, then drains it; it returns the first error that ended it.
	Run(ctx context.Context, s *Stage) error
}

// Ownership says which partitions this process is to own. It may be wrong for a while, and two processes may
// both be told that they are: the chain decides. Implementations are safe for concurrent use.
type Ownership interface {
	// Owns says whether this process is to own a partition, as far as is known.
	Owns(partition int) bool
	// Changed is closed when Owns may answer otherwise than when Changed was called.
	Changed() <-chan struct{}
	// Present says whether a process of that name is known to be there: if the record of a partition names it
	// as the owner, it is given time to end its work before the partition is taken over.
	Present(replica string) bool
}

// Always is the Ownership that a process is started with and keeps.
type Always func(partition int) bool

// Owns implements Ownership.
func (a Always) Owns(partition int) bool { return a(partition) }

// Changed implements Ownership: it never is.
func (Always) Changed() <-chan struct{} { return nil }

// Present implements Ownership: nobody is known.
func (Always) Present(string) bool { return false }

// Orphans takes the results of calls that reach a process after it has lost their partition: published, they
// reach whoever owns it now. An error is waited out and tried again.
type Orphans interface {
	Orphan(ctx context.Context, partition int, id, key string, result any) error
}
