package stage

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// fat is a ledger whose facts, states and letters are as large as the customer's name says: fact-400000-x.
type fat struct{ *ledger }

func (f fat) Decide(in Input, rows Rows, env Env) (Outcome, error) {
	out, err := f.ledger.Decide(in, rows, env)
	for n := range out.Cells {
		out.Cells[n] = fatten(out.Cells[n])
	}
	for n := range out.Addressed {
		e, _ := decode(out.Addressed[n].Payload)
		var size int
		if _, err := fmt.Sscanf(e.Customer, "many-%d", &size); err == nil {
			one := out.Addressed[n]
			for range 99 {
				out.Addressed = append(out.Addressed, one)
			}
		}
	}
	return out, err
}

func fatten(c Cell) Cell {
	var size int
	name := strings.TrimPrefix(c.Key, "t/c/")
	if _, err := fmt.Sscanf(name, "fact-%d", &size); err == nil {
		c.Facts = append(c.Facts, bytes.Repeat([]byte("x"), size))
	}
	if _, err := fmt.Sscanf(name, "state-%d", &size); err == nil {
		c.State = append(c.State, bytes.Repeat([]byte(" "), size)...)
	}
	return c
}

func (m *mesh) fatStage() *Stage { return m.again(fat{m.fold}) }

// largest is the size of the largest message on a subject.
func (m *mesh) largest(subject string) (most int) {
	m.t.Helper()
	for after := uint64(0); ; {
		msg, err := m.broker.Next(context.Background(), subject, after)
		if err != nil {
			return most
		}
		most, after = max(most, len(msg.Data)), msg.Sequence
	}
}

// What cannot be written is given up, says why, and keeps nothing else from going on.
func TestWhatIsTooLargeIsGivenUp(t *testing.T) {
	m := newMesh(t, 1, 16)
	stop := m.run(m.fatStage())
	for _, c := range []string{"fact-1100000", "state-70000"} {
		m.publish(m.broker, nil, m.add(c, 1))
	}
	m.publish(m.broker, nil, m.add("ann", 1))
	eventually(t, "what came after them is added", func() bool { return m.row("profile", "ann").Sum == 1 })
	stop()
	letters := m.deadLetters("profile", 0)
	if len(letters) != 2 {
		t.Fatalf("dead letters: got %d, want 2", len(letters))
	}
	for _, l := range letters {
		if l.GetCode() != "TOO_LARGE" || !strings.Contains(l.GetWhy(), "bytes") {
			t.Errorf("dead letter: got %v", l)
		}
	}
	if got := m.row("profile", "fact-1100000").Gaps; len(got) != 1 {
		t.Errorf("gaps of the first: got %v", got)
	}
}

// Many that fit only one by one are written one by one.
func TestRecordsAreNeverTooLarge(t *testing.T) {
	m := newMesh(t, 1, 16)
	for n := range 12 {
		m.publish(m.broker, nil, m.add(fmt.Sprintf("fact-%d-%d", 100_000+30_000*(n%12), n), 1))
	}
	m.publish(m.broker, nil, m.add("state-60000", 1))
	stop := m.run(m.fatStage())
	eventually(t, "all are added", func() bool { return m.row("profile", "state-60000").Sum == 1 })
	stop()
	if got := m.largest("prf.0"); got > hardRecordSize {
		t.Errorf("the largest record has %d bytes", got)
	}
	if got := m.deadLetters("profile", 0); len(got) != 0 {
		t.Errorf("dead letters: got %v", got)
	}
}

// A state that was written before the limit was kept may shrink, and what is asked too much is refused.
func TestAStateThatShrinksFits(t *testing.T) {
	rows := &overlay{own: map[string][]byte{"a": make([]byte, maxState+100)}}
	for size, fits := range map[int]bool{maxState: true, maxState + 99: true, maxState + 100: true, maxState + 101: false} {
		_, err := weigh(Outcome{Cells: []Cell{{Key: "a", State: make([]byte, size)}}}, rows.Own, maxState)
		if (err == nil) != fits {
			t.Errorf("a state of %d bytes over one of %d: %v", size, maxState+100, err)
		}
		if err != nil && fault.Of(err) != fault.Invalid {
			t.Errorf("the kind is %v", fault.Of(err))
		}
	}
}

func TestARequestThatIsTooLargeIsRefused(t *testing.T) {
	m := newMesh(t, 1, 16)
	s := m.fatStage()
	stop := m.run(s)
	if _, err := s.Do(t.Context(), 0, Request{ID: "a", Key: key("fact-600000"), Body: 1}); fault.Of(err) != fault.Invalid {
		t.Errorf("got %v, want Invalid", err)
	}
	stop()
}

// A record's letters for one mailbox are as many messages as they need, in order, each fact applied once.
func TestLettersAreNeverTooLarge(t *testing.T) {
	m := newMesh(t, 1, 16)
	stop := m.run(m.fatStage())
	to := "many-4000-" + strings.Repeat("x", 4000)
	a := m.add("ann", 1)
	a.e.Letter = to
	m.publish(m.broker, nil, a)
	eventually(t, "all letters are applied", func() bool { return m.row("profile", to).Sum == 100 })
	stop()
	if got := m.largest("box.profile.0"); got > maxLetterSize || got < maxLetterSize/2 {
		t.Errorf("the largest letter has %d bytes", got)
	}
}

// A dead letter fits a message, whatever it is about and whatever was wrong.
func TestDeadLettersAreNeverTooLarge(t *testing.T) {
	m := newMesh(t, 1, 16)
	stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
	at, err := m.broker.Publish(t.Context(), "evt.live.0", bytes.Repeat([]byte("\xff"), 1<<20-10))
	if err != nil {
		t.Fatal(err)
	}
	m.publish(m.broker, nil, m.add("ann", 1))
	eventually(t, "what came after it is added", func() bool { return m.row("profile", "ann").Sum == 1 })
	stop()
	l := m.deadLetters("profile", 0)
	if len(l) != 1 || len(l[0].GetPayload()) != 0 || !strings.Contains(l[0].GetWhy(), fmt.Sprintf("message %d of evt.live.0", at)) {
		t.Errorf("dead letters: got %v", l)
	}
	long := &stagev1.DeadLetter{Why: strings.Repeat("ü", maxWhy)}
	if capLetter(long); len(long.GetWhy()) > maxWhy+3 || strings.ContainsRune(long.GetWhy(), '\uFFFD') {
		t.Errorf("a reason has %d bytes", len(long.GetWhy()))
	}
}

// meetings are letters of one instant from everywhere to everyone.
func meetings(n int) []arrival {
	var all []arrival
	for i := range n {
		all = append(all, arrival{at: monday, e: entry{Customer: fmt.Sprint("fact-1500-a", i), Add: 1, Letter: fmt.Sprint("fact-1500-b", i%40)}})
	}
	return all
}

func (m *mesh) publishTogether(r *Replay, all []arrival) {
	m.t.Helper()
	at := make([]time.Time, len(all))
	for n, a := range all {
		at[n] = a.at
	}
	received, done := r.Arrive(at)
	defer done()
	for n, a := range all {
		m.raw(r.Broker(), log.Subject(log.Lane(log.LaneLive), m.fold.home(a.e.Customer)), &stagev1.Arrivals{Items: []*stagev1.Arrival{{
			ReceivedAt: timestamppb.New(received[n]), At: timestamppb.New(a.at), Item: &stagev1.Arrival_Payload{Payload: mustJSON(a.e)},
		}}})
	}
}

// fatReplay runs two fat stages under the replay clock until they have settled, or the broker has taken so many
// appends; then they end without a word.
func (m *mesh) fatReplay(all []arrival, die int) (settled bool) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	appends := 0
	m.broker.SetFaults(func(op log.Op) log.Fault {
		if op.Name == "append" && die > 0 {
			if appends++; appends == die {
				cancel()
			}
			if appends >= die {
				return log.Fault{Effect: log.LostBefore}
			}
		}
		return log.Fault{}
	})
	r, err := NewReplay(ctx, m.broker, m.gen, 2)
	if err != nil {
		m.t.Fatal(err)
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, name := range []string{"decision", "profile"} {
		s := m.stage(name, r.Broker(), r)
		s.fold = fat{m.fold}
		s.cfg.StopWithin = time.Millisecond
		g.Go(func() error { return r.Run(gctx, s) })
	}
	g.Go(func() error { return r.Drive(gctx) })
	if len(all) > 0 {
		m.publishTogether(r, all)
	}
	r.Advance(func(t time.Time) time.Time { return t.Add(time.Hour) })
	eventually(m.t, "settled or dead", func() bool { return r.Status().Settled || ctx.Err() != nil })
	settled = ctx.Err() == nil
	cancel()
	_ = g.Wait()
	m.broker.SetFaults(nil)
	return settled
}

// Thousands of letters may meet in one instant of the replay clock: they are decided in the order of the rows that
// they come from, in as many records as they need, also by processes that die in between.
func TestLettersThatMeetNeedNotFitARecord(t *testing.T) {
	all := meetings(800)
	whole := newMesh(t, 2, 256)
	if !whole.fatReplay(all, 0) {
		t.Fatal("it has not settled")
	}
	want := whole.facts("prf")
	for p := range 2 {
		if got := whole.largest(log.Subject("prf", p)); got > hardRecordSize {
			t.Errorf("the largest record has %d bytes", got)
		}
	}
	broken := newMesh(t, 2, 100)
	halfway := 0
	for die, first := 9, all; !broken.fatReplay(first, die); die += 5 {
		first = nil
		for p := range 2 {
			recs := broken.records(log.Subject("prf", p))
			if recs[len(recs)-1].rec.GetMeeting() > 0 {
				halfway++
			}
		}
		if die > 300 {
			t.Fatal("it does not settle")
		}
	}
	if halfway == 0 {
		t.Error("no process died in the middle of a meeting")
	}
	if diff := cmp.Diff(want, broken.facts("prf")); diff != "" {
		t.Errorf("processes that die in between lead to other facts (-want +got):\n%.2000s", diff)
	}
}

// What an owner under the replay clock left of a meeting is ended on the wall clock.
func TestAMeetingIsEndedOnTheWallClock(t *testing.T) {
	m := newMesh(t, 1, 64)
	all := meetings(300)
	die := 10
	for halfway := false; !halfway; die++ {
		m = newMesh(t, 1, 64)
		if m.fatReplay(all, die) {
			t.Fatal("it has settled")
		}
		recs := m.records("prf.0")
		halfway = recs[len(recs)-1].rec.GetMeeting() > 0
	}
	stop := m.run(m.fatStage())
	eventually(t, "all letters are applied", func() bool {
		sum := 0
		for n := range 40 {
			sum += m.row("profile", fmt.Sprint("fact-1500-b", n)).Sum
		}
		return sum >= len(all)
	})
	m.publish(m.broker, nil, m.add("ann", 1))
	eventually(t, "what comes after them is added", func() bool { return m.row("profile", "ann").Sum == 1 })
	stop()
	for n := range 40 {
		if got := m.row("profile", fmt.Sprint("fact-1500-b", n)).Sum; got > 8 {
			t.Errorf("sum of b%d: got %d", n, got)
		}
	}
	recs := m.records("prf.0")
	if got := recs[len(recs)-1].rec.GetMeeting(); got != 0 {
		t.Errorf("the last record says that %d letters of a meeting are decided", got)
	}
}
