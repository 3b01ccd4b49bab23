// Package state is where stages keep the states that their chains led to: a projection of the log that
// may lag behind or be lost, never the truth. It has two implementations, Redis and memory, and one
// suite (statetest) that holds for both.
//
// All rows of a partition, of all stages, live in one place (one Redis slot), so one call can read rows
// of several stages with their metas. A row, a list or a set is named by its stage, partition and key.
package state

import (
	"context"
	"fmt"
	"time"
)

// Shard is one stage's part of one partition.
type Shard struct {
	// Stage is the stage's name.
	Stage string
	// Partition counts from 0.
	Partition int
}

// Meta says up to where a shard's states follow its chain.
type Meta struct {
	// Generation of the partitions.
	Generation uint32
	// Applied is the sequence of the last record of the stage's chain that is applied completely; 0 if none.
	Applied uint64
	// Origins is the greatest position of each lane of EVENTS that is covered through all stages before.
	Origins map[string]uint64
	// Senders is the position applied from each mailbox sender.
	Senders map[string]Position
	// Now is the time of the last applied record.
	Now time.Time
	// Revision is the catalog revision of the last applied record.
	Revision string
	// Unfinished says that a batch after Applied is written in part: rows may already be those of the
	// next record, while everything above is still that of Applied. Readers of another stage's rows ask
	// View.Readable whether they may use them; the owner applies the record again. Apply does not look at it.
	Unfinished bool
	// Target is the record that is written in part, if that is why the shard is unfinished. It is 0 while the
	// shard is reset, restored or damaged: then nothing is known. Apply does not look at it.
	Target uint64
	// Damaged says that something that was read of the shard, its meta, a row, a list or a set, was not written
	// by a Store. Then Unfinished is set too and what is damaged reads as not there. The owner resets the shard
	// and brings it back from the log; nobody else may. Apply does not look at it.
	Damaged bool
}

// Position is a sequence and an index inside it.
type Position struct {
	Sequence uint64
	Index    uint32
}

// DeltaKind says what a delta does; the values are those of stage.v1.DeltaKind.
type DeltaKind int

// The kinds of delta.
const (
	DeltaAppend DeltaKind = 1 // append Value to the list
	DeltaTrim   DeltaKind = 2 // keep the newest Keep values of the list
	DeltaAdd    DeltaKind = 3 // add Value to the set
	DeltaDrop   DeltaKind = 4 // remove the list or set
)

// Delta is one change to a list or set.
type Delta struct {
	Name  string
	Kind  DeltaKind
	Value []byte
	Keep  int
}

// Write is what one record does to one row and to what stands beside it. Writes of a record are in the
// order of its cells; a key may come several times, the last value counts, deltas all count.
type Write struct {
	// Key of the row.
	Key string
	// Value is the new state; nil leaves it as it is.
	Value []byte
	// Sequence of the record that wrote Value. Apply takes that of the batch; Restore keeps it.
	Sequence uint64
	// Deleted removes the row and its wake-up, whatever Value and Wake say.
	Deleted bool
	// Wake is the row's earliest wake-up, zero for none; it is looked at only if Value is set.
	Wake time.Time
	// Deltas in order.
	Deltas []Delta
}

// Batch is one record on its way into the store.
type Batch struct {
	// Prev is what Meta.Applied must be before; otherwise *FencedError, unless this very record is
	// applied already (its answer was lost), which is success and changes nothing.
	Prev uint64
	// Meta is the meta after the batch. Origins are complete; Senders holds only those that changed.
	Meta Meta
	// Writes in the order of the record's cells.
	Writes []Write
}

// Piece is a part of an image of a shard on its way into the store: what its chain led to up to Meta.Applied.
// Pieces come in order, from the first write on; the last one brings the meta.
type Piece struct {
	// Image names the whole. Pieces of two images do not mix.
	Image string
	// Over is what Meta.Applied must be before the first piece; otherwise *FencedError.
	Over uint64
	// From is how many writes of the image come before this piece.
	From int
	// Writes of rows, each with its Sequence, and of deltas that make lists and sets.
	Writes []Write
	// Meta of the image, with the last piece; nil with the others. Senders is complete.
	Meta *Meta
}

// FencedError says that the shard is not where the writer thought.
type FencedError struct {
	// Applied is where it is.
	Applied uint64
}

// Error implements error.
func (e *FencedError) Error() string {
	return fmt.Sprintf("state is at sequence %d of its chain", e.Applied)
}

// OtherError says that a part of another record is in the shard than the one that follows its last: the chain
// had a record that it does not have any more. Only an operator can tell what that means.
type OtherError struct {
	// Applied is the last record that is applied completely, Target the one that is there in part.
	Applied, Target uint64
}

// Error implements error.
func (e *OtherError) Error() string {
	return fmt.Sprintf("state is at sequence %d of its chain and has a part of record %d, which does not follow it", e.Applied, e.Target)
}

// Row names a row of any stage of the partition that is read.
type Row struct {
	Stage, Key string
}

// Member names a member of a set.
type Member struct {
	Stage, Set, Value string
}

// List names the newest values of a list.
type List struct {
	Stage, Name string
	Newest      int
}

// Query is one read.
type Query struct {
	// Metas of these stages are read in the same call.
	Metas []string
	Rows  []Row
	// Members are looked up in sets.
	Members []Member
	Lists   []List
}

// View is what a query saw, all at one instant.
type View struct {
	// Metas by stage; the zero Meta where the shard was never written.
	Metas map[string]Meta
	// Rows in the order of the query; nil where there is none. The caller owns the bytes.
	Rows [][]byte
	// Sequences of the records that wrote the rows, in the same order; 0 where there is none.
	Sequences []uint64
	// Members in the order of the query.
	Members []bool
	// Lists in the order of the query, oldest first.
	Lists [][][]byte
}

// Due is an entry of the timer index.
type Due struct {
	Key string
	At  time.Time
}

// Store keeps states. Implementations are safe for concurrent use, but one shard is written by one
// owner at a time; a late writer is refused with *FencedError. Times are kept to the microsecond.
type Store interface {
	// Read answers a query on one partition in one round trip, consistently. What is damaged is said in the
	// metas; of a stage whose meta is not asked for, it is ErrDamaged.
	Read(ctx context.Context, partition int, q Query) (View, error)
	// Apply writes a batch. Large batches are written in parts; Meta advances with the last one, and a
	// reader or a later writer that finds a part unfinished sees Applied as before. A row goes from its
	// state before the batch to that after it, also if the batch writes it several times. Applying the same
	// batch again after a failure continues where it stopped. ErrDamaged says that the shard cannot take it
	// before a reset, *OtherError that a part of a record is there that did not come after Prev.
	Apply(ctx context.Context, shard Shard, b Batch) error
	// Restore replaces everything of a shard by an image, piece by piece. From the first piece to the last the
	// shard is at 0 and unfinished. It returns how many of the image's writes are there now: not From and this
	// piece's if the image is being restored already, then the caller goes on from there. A piece is done or
	// not; a repeat does no harm; a piece of an image that is not being restored any more is refused with
	// *FencedError.
	Restore(ctx context.Context, shard Shard, p Piece) (at int, err error)
	// Due returns index entries at or before until, ordered by (at, key). Wake-ups are rounded up to the
	// microsecond, so none is returned early; wake-ups after 2255 are indexed there.
	Due(ctx context.Context, shard Shard, until time.Time, limit int) ([]Due, error)
	// Unschedule removes an index entry if it still has that time: the row does not know it.
	Unschedule(ctx context.Context, shard Shard, due Due) error
	// Keys iterates the rows of a shard in key order: at most limit keys greater than after.
	Keys(ctx context.Context, shard Shard, after string, limit int) ([]string, error)
	// Reset removes everything of a shard.
	Reset(ctx context.Context, shard Shard) error
}
