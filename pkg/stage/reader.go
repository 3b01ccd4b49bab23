package stage

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// item is one step of a reader: an input, or only a move of its cover.
type item struct {
	reader *reader
	// pos is the cover after the item; total is the number of items of its message.
	pos   state.Position
	total uint32
	// input is nil if there is nothing to decide.
	input *Input
	// revision is the catalog revision that the item brings, "" if it brings none, and order its place among all
	// that were applied.
	revision string
	order    uint64
	// origins of a record of the chain before, once its last item is done.
	origins []*stagev1.Origin
	// ping says that its message is a ping and nothing else.
	ping bool
	// sender is the mailbox position that the item moves to.
	sender string
	letter state.Position
	// from is the row that a letter's fact comes from; meets says that it is one of a meeting.
	from  string
	meets bool
	// stored is when the broker stored its message.
	stored time.Time
	// releaseAt is when ingest took it; zero for what is released at once.
	releaseAt time.Time
	// decided is the turn in which what it brings was decided; zero for arrivals.
	decided turn
}

// last says whether the item is its message's last.
func (i *item) last() bool { return i.pos.Index >= i.total }

// reader turns the messages of one input into items.
type reader struct {
	name    string
	subject string
	source  Source
	lane    string // of a lane reader
	tail    log.Tail
	// cover is what is decided and recorded (or rides with the next record).
	cover state.Position
	// head are the items of the message that is being read; next is the first not yet given out.
	head []item
	next int
	// seen is the sequence of the message read last.
	seen uint64
	// anew says that its stream is not the one that was provisioned.
	anew error
	// prev is the sequence of the chain's record read last, to see gaps; 0 while unknown.
	prev uint64
}

// peek returns the next item without taking it; nil if none has arrived.
func (r *reader) peek() (*item, error) {
	if r.anew != nil {
		return nil, r.lost(r.anew)
	}
	for r.next >= len(r.head) {
		msg, ok := r.tail.Peek()
		if !ok {
			if err := r.tail.Err(); err != nil {
				return nil, r.lost(err)
			}
			return nil, nil
		}
		items, err := r.decode(msg)
		if err != nil {
			return nil, err
		}
		r.tail.Pop()
		r.seen = msg.Sequence
		r.head, r.next = r.head[:0], 0
		for _, it := range items {
			if msg.Sequence > r.cover.Sequence || it.pos.Index > r.cover.Index {
				r.head = append(r.head, it)
			}
		}
	}
	return &r.head[r.next], nil
}

// take moves past the item that peek returned.
func (r *reader) take() { r.next++ }

// arrived says whether everything up to a stored sequence was read, or something is at hand.
func (r *reader) arrived(sequence uint64) bool {
	return r.next < len(r.head) || r.seen >= sequence
}

func (r *reader) decode(msg log.Message) ([]item, error) {
	switch r.source {
	case FromLane, FromRedrive:
		return r.decodeArrivals(msg)
	case FromBefore, FromAfter:
		return r.decodeRecord(msg)
	case FromBox:
		return r.decodeLetter(msg)
	case FromTimer, FromRPC, FromCall:
	}
	panic("reader of an input that is not on a log")
}

func (r *reader) at(msg log.Message, index, total int) item {
	return item{
		reader: r,
		stored: msg.Time,
		pos:    state.Position{Sequence: msg.Sequence, Index: uint32(index)}, //nolint:gosec // small
		total:  uint32(total),                                                //nolint:gosec // small
	}
}

// unreadable is a message of which nothing can be told apart: it is one input that cannot be decided, and
// goes to the dead letters.
func (r *reader) unreadable(msg log.Message, err error) item {
	it := r.at(msg, 1, 1)
	it.input = &Input{Source: r.source, Name: r.name, Sequence: msg.Sequence, Index: 1, Payload: msg.Data, At: msg.Time, broken: err}
	return it
}

func (r *reader) decodeArrivals(msg log.Message) ([]item, error) {
	arrivals := &stagev1.Arrivals{}
	if err := arrivals.UnmarshalVT(msg.Data); err != nil {
		return []item{r.unreadable(msg, err)}, nil
	}
	if len(arrivals.GetItems()) == 0 {
		return []item{r.at(msg, 0, 0)}, nil
	}
	items := make([]item, 0, len(arrivals.GetItems()))
	for n, a := range arrivals.GetItems() {
		it := r.at(msg, n+1, len(arrivals.GetItems()))
		it.releaseAt = asTime(a.GetReceivedAt())
		in := &Input{
			Source: r.source, Name: r.name, Sequence: msg.Sequence, Index: it.pos.Index,
			At: asTime(a.GetAt()), ReceivedAt: it.releaseAt, StoredAt: msg.Time, Traceparent: a.GetTraceparent(),
		}
		switch v := a.GetItem().(type) {
		case *stagev1.Arrival_Payload:
			in.Payload, it.input = v.Payload, in
		case *stagev1.Arrival_Redrive:
			in.ReceivedAt, in.StoredAt = time.Time{}, time.Time{} // it has come again, and did not arrive now
			if err := r.redrive(in, v.Redrive); err != nil {
				in.broken = err
			}
			it.input = in
		case *stagev1.Arrival_Catalog:
			it.revision, it.order = v.Catalog.GetRevision(), v.Catalog.GetOrder()
		case *stagev1.Arrival_Ping:
			it.ping = it.total == 1
		}
		items = append(items, it)
	}
	return items, nil
}

// redrive restores an input from its dead letter.
func (r *reader) redrive(in *Input, rd *stagev1.Redrive) error {
	if rd.GetId() == "" {
		return errors.New("decode redrive: it names no dead letter; send it with refrain dlq redrive")
	}
	in.ID = rd.GetId()
	in.Payload = rd.GetPayload()
	in.Redriven = rd.GetInput()
	if in.unsent = rd.GetAddressed(); in.unsent != nil {
		in.At, in.Traceparent = asTime(in.unsent.GetAt()), in.unsent.GetTraceparent()
		return nil
	}
	if !isChain(rd.GetInput()) && rd.GetInput() != timerInput && rd.GetInput() != callInput {
		return nil
	}
	cell := &stagev1.Cell{}
	if err := cell.UnmarshalVT(rd.GetPayload()); err != nil {
		return fmt.Errorf("decode the cell of dead letter %s: %w", rd.GetId(), err)
	}
	return in.fill(cell)
}

// isChain says whether an input is a chain, whose dead letters are cells.
func isChain(input string) bool {
	for _, s := range log.Stages() {
		if s.Chain == input {
			return true
		}
	}
	return false
}

func (in *Input) fill(cell *stagev1.Cell) error {
	body, err := openCell(cell)
	if err != nil {
		return err
	}
	in.Key = cell.GetKey()
	in.Facts, in.State = body.GetFacts(), body.GetState()
	in.At, in.Traceparent = asTime(body.GetAt()), body.GetTraceparent()
	return nil
}

func (r *reader) decodeRecord(msg log.Message) ([]item, error) {
	rec := &stagev1.Record{}
	if err := rec.UnmarshalVT(msg.Data); err != nil {
		return nil, &HaltError{Subject: r.subject, Why: fmt.Sprintf("record %d cannot be read: %v", msg.Sequence, err)}
	}
	if r.prev != 0 && rec.GetPrev() != r.prev {
		return nil, &HaltError{Subject: r.subject, Why: fmt.Sprintf("record %d says it follows %d, but %d was read before it", msg.Sequence, rec.GetPrev(), r.prev)}
	}
	r.prev = msg.Sequence
	if rec.GetKind() != stagev1.RecordKind_RECORD_KIND_BATCH || len(rec.GetCells()) == 0 {
		it := r.at(msg, 0, 0)
		r.carry(&it, rec)
		it.decided = turn{asTime(rec.GetNow()), rec.GetRound()}
		return []item{it}, nil
	}
	items := make([]item, 0, len(rec.GetCells()))
	for n, cell := range rec.GetCells() {
		it := r.at(msg, n+1, len(rec.GetCells()))
		r.carry(&it, rec)
		it.decided = turn{asTime(rec.GetNow()), rec.GetRound()}
		in := &Input{Source: r.source, Name: r.name, Sequence: msg.Sequence, Index: it.pos.Index}
		if err := in.fill(cell); err != nil {
			in.broken = err
		}
		if len(in.Facts) > 0 || in.broken != nil {
			in.cell = cell
			it.input = in
		}
		items = append(items, it)
	}
	return items, nil
}

// carry gives an item what its record brings down the chain; nothing comes up from the chain after.
func (r *reader) carry(it *item, rec *stagev1.Record) {
	if r.source == FromBefore {
		it.origins, it.revision, it.order = rec.GetOrigins(), rec.GetRevision(), rec.GetRevisionOrder()
	}
}

func (r *reader) decodeLetter(msg log.Message) ([]item, error) {
	letter := &stagev1.Letter{}
	if err := letter.UnmarshalVT(msg.Data); err != nil {
		// No relay writes such a thing: whoever did has no claim that the partition stops for it.
		return []item{r.unreadable(msg, err)}, nil
	}
	if len(letter.GetItems()) == 0 {
		return []item{r.at(msg, 0, 0)}, nil
	}
	items := make([]item, 0, len(letter.GetItems()))
	for n, li := range letter.GetItems() {
		it := r.at(msg, n+1, len(letter.GetItems()))
		it.decided = turn{asTime(letter.GetNow()), letter.GetRound()}
		it.sender = letter.GetSender()
		it.letter = state.Position{Sequence: letter.GetSequence(), Index: li.GetIndex()}
		f := li.GetFact()
		it.from = f.GetFrom()
		it.input = &Input{
			Source: FromBox, Name: r.name, Sequence: msg.Sequence, Index: it.pos.Index, Payload: f.GetPayload(),
			At: asTime(f.GetAt()), Depth: f.GetDepth(), Traceparent: f.GetTraceparent(),
		}
		items = append(items, it)
	}
	return items, nil
}

func openCell(c *stagev1.Cell) (*stagev1.CellBody, error) {
	if c.GetKeyId() != 0 {
		return nil, fmt.Errorf("cell %s is sealed with key %d, which this build cannot open", c.GetKey(), c.GetKeyId())
	}
	body := &stagev1.CellBody{}
	if err := body.UnmarshalVT(c.GetSealed()); err != nil {
		return nil, fmt.Errorf("open cell %s: %w", c.GetKey(), err)
	}
	return body, nil
}

func asTime(ts *timestamppb.Timestamp) time.Time {
	if ts == nil {
		return time.Time{}
	}
	return ts.AsTime()
}

func asProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
