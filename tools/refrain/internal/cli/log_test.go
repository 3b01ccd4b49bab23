package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/tools/refrain/internal/cli"
)

// append adds a record with these facts of one customer to a chain.
func appendRecord(t *testing.T, m *log.Memory, chain, input string, covered uint64, facts ...interface{ MarshalVT() ([]byte, error) }) {
	t.Helper()
	body := &stagev1.CellBody{At: timestamppb.New(noon), Cause: "evt.live/3/1"}
	for _, f := range facts {
		data, err := f.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		body.Facts = append(body.Facts, data)
	}
	sealed, err := body.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	last, err := m.Last(t.Context(), chain)
	if err != nil {
		t.Fatal(err)
	}
	data, err := (&stagev1.Record{
		Generation: 1, Prev: last.Sequence, Kind: stagev1.RecordKind_RECORD_KIND_BATCH, Now: timestamppb.New(noon), Revision: "r1", Owner: "test",
		Covers: []*stagev1.Cover{{Input: input, Sequence: covered, Index: 1}},
		Cells:  []*stagev1.Cell{{Key: "default/c/ab", Sealed: sealed}},
		Gaps:   []*stagev1.Gap{{Input: input, Sequence: covered, Index: 1, DeadLetter: "x1", Why: "invalid"}},
	}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Append(t.Context(), chain, last.Sequence, data); err != nil {
		t.Fatal(err)
	}
}

func eventApplied() *profilev1.Fact {
	return &profilev1.Fact{Fact: &profilev1.Fact_EventApplied{EventApplied: &profilev1.EventApplied{
		Created: true,
		Event: &eventv1.Event{Id: "e1", Type: "order", Properties: []*eventv1.Property{
			{Name: "total", Value: &eventv1.Value{Kind: &eventv1.Value_Integer{Integer: 42}}},
		}},
	}}}
}

func stepEntered() *decisionv1.Fact {
	return &decisionv1.Fact{Fact: &decisionv1.Fact_StepEntered{StepEntered: &decisionv1.StepEntered{Journey: "welcome", Step: "a"}}}
}

func TestTail(t *testing.T) {
	m := memory(t)
	appendRecord(t, m, "prf.1", "evt.live", 3, eventApplied())
	appendRecord(t, m, "act.1", "prf", 9, stepEntered())
	b := &bench{site: m}
	r := b.run(t, "tail", "--from-start", "--no-follow", "--partition", "1")
	r.want(t, 0, `{"stage":"profile","partition":1,`, "")
	r.want(t, 0, `"what":"event_applied","fact":{"created":true,"event":{"id":"e1","properties":{"total":42},"type":"order"}}`, "")
	r.want(t, 0, `"key":"default/c/ab","cause":"evt.live/3/1","what":"step_entered","fact":{"journey":"welcome","step":"a"}`, "")
	r.want(t, 0, `"what":"gap","fact":{"dead_letter":"x1"`, "")
	r.want(t, 0, `"what":"record","fact":{"kind":"GENESIS"`, "")
	for line := range strings.Lines(r.out) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if got := b.run(t, "tail", "--from-start", "--no-follow", "--stage", "decision", "--what", "step_entered"); strings.Count(got.out, "\n") != 1 {
		t.Errorf("got:\n%s", got.out)
	}
	b.run(t, "tail", "--no-follow").want(t, 0, "", "")
	b.run(t, "tail", "--stage", "nothing").want(t, 2, "", "--stage")
	b.run(t, "tail", "--partition", "2").want(t, 2, "", "the partitions are 0 to 1")
}

// lineWriter tells when a line was written.
type lineWriter struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.text.Write(p)
	select {
	case w.wrote <- struct{}{}:
	default:
	}
	return n, err
}

func (w *lineWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func TestTailFollows(t *testing.T) {
	m := memory(t)
	appendRecord(t, m, "prf.0", "evt.live", 3, eventApplied())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out := &lineWriter{wrote: make(chan struct{}, 1)}
	opened := make(chan struct{})
	code := make(chan int, 1)
	go func() {
		code <- cli.Run(ctx, []string{"tail", "--stage", "profile", "--what", "event_applied", "--from-start"}, cli.World{
			Stdin: strings.NewReader(""), Stdout: out, Stderr: out, Getenv: func(string) string { return "" }, Now: time.Now,
			Open: func(context.Context, string) (log.Site, func(), error) { close(opened); return m, func() {}, nil },
		})
	}()
	<-opened
	appendRecord(t, m, "prf.1", "evt.live", 4, eventApplied())
	for strings.Count(out.String(), "event_applied") < 2 {
		select {
		case <-out.wrote:
		case <-ctx.Done():
			t.Fatalf("got:\n%s", out)
		}
	}
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("interrupted, got code %d:\n%s", got, out)
	}
}

// What waits are the items behind the cover that say something, in the message of the cover too.
func TestStatus(t *testing.T) {
	m := memory(t)
	b := &bench{site: m}
	b.run(t, "status").want(t, 0, "generation 1: 2 partitions, 1 replica; revision none yet", "")
	b.run(t, "status").want(t, 0, "decision     0      0       0        -", "")
	data, err := (&stagev1.Arrivals{Items: []*stagev1.Arrival{{}, {}, {}}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	first, err := m.Publish(t.Context(), "evt.live.1", data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Publish(t.Context(), "evt.live.1", data); err != nil {
		t.Fatal(err)
	}
	appendRecord(t, m, "prf.1", "evt.live", first, eventApplied())
	appendRecord(t, m, "prf.1", "evt.live", first, eventApplied())
	last, err := m.Last(t.Context(), "prf.1")
	if err != nil {
		t.Fatal(err)
	}
	waiting := func(stage, input string) int {
		t.Helper()
		r := b.run(t, "status", "-o", "json")
		var got struct {
			Stages []struct {
				Stage     string
				Partition int
				Inputs    []struct {
					Input   string
					Waiting int
				}
			}
		}
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || strings.Contains(r.out, "ecret") {
			t.Fatalf("%v in:\n%s", err, r.out)
		}
		for _, s := range got.Stages {
			for _, in := range s.Inputs {
				if s.Stage == stage && s.Partition == 1 && in.Input == input {
					return in.Waiting
				}
			}
		}
		t.Fatalf("no %s of %s in:\n%s", input, stage, r.out)
		return 0
	}
	if got := waiting("profile", "evt.live"); got != 5 {
		t.Errorf("profile: got %d; want the 2 that are left of the first message and 3 of the second", got)
	}
	if got := waiting("decision", "prf"); got != 2 {
		t.Errorf("decision: got %d; want 2", got)
	}
	appendRecord(t, m, "act.1", "prf", last.Sequence, stepEntered())
	if got := waiting("decision", "prf"); got != 0 {
		t.Errorf("decision, all covered: got %d", got)
	}
	b.run(t, "status", "--all").want(t, 0, "box.decision", "")
	b.run(t, "status").want(t, 0, "evt.live.1: 5", "")
}

func TestProvision(t *testing.T) {
	b := &bench{site: log.NewMemory()}
	b.run(t, "status").want(t, 2, "", "not provisioned yet")
	b.run(t, "provision", "--partitions", "4", "--streams", "2").want(t, 0, "generation 1 is ready: 4 partitions in 2 streams a stage, 1 replica", "")
	b.run(t, "provision", "--partitions", "4", "--streams", "2").want(t, 0, "is ready", "")
	b.run(t, "provision", "--partitions", "4", "--streams", "2").want(t, 0, "  72 h of history up to 13 events/s", "") // 2 x 8 GiB x 40 %, 2 KiB each
	b.run(t, "provision", "--partitions", "4", "--streams", "2").want(t, 0, "100 events/s with 72 h of history need --max-bytes 66355200000", "")
	r := b.run(t, "provision", "--partitions", "8", "--streams", "2", "-o", "json")
	r.want(t, 2, "", "partitions")
	if strings.Contains(r.out+r.errout, "ecret") {
		t.Error("the secret is shown")
	}
}

// An id does not say whose it is: the log does.
func TestExplainFindsTheCustomer(t *testing.T) {
	memory, gen, err := log.ProvisionMemory(t.Context(), log.Generation{Number: 1, Partitions: 2, Streams: 1, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	fact, err := (&decisionv1.Fact{Fact: &decisionv1.Fact_ProposalMade{ProposalMade: &decisionv1.ProposalMade{
		Proposal: &decisionv1.Proposal{Id: "p1"},
	}}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	body, err := (&stagev1.CellBody{Facts: [][]byte{fact}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	genesis, err := memory.Last(t.Context(), "act.1")
	if err != nil {
		t.Fatal(err)
	}
	rec, err := (&stagev1.Record{
		Generation: gen.Number, Prev: genesis.Sequence, Kind: stagev1.RecordKind_RECORD_KIND_BATCH,
		Cells: []*stagev1.Cell{{Key: "default/c/0a0b0c0d0a0b0c0d0a0b0c0d0a0b0c0d", Sealed: body}},
	}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := memory.Append(t.Context(), "act.1", genesis.Sequence, rec); err != nil {
		t.Fatal(err)
	}
	b := &bench{site: memory, dial: serve(t, withServices), env: map[string]string{"REFRAIN_GRPC": address}}
	b.run(t, "explain", "p1").want(t, 0, "d1", "")
	b.run(t, "explain", "p2").want(t, 1, "", "no proposal, decision or enrollment p2 is in the log")
}

// A chain that is ahead of the time is shown, and mended once.
func TestClockMend(t *testing.T) {
	m, _, err := log.ProvisionMemory(t.Context(), log.Generation{Number: 1, Partitions: 2, Streams: 1, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{site: m}
	last, err := m.Last(t.Context(), "vdc.1")
	if err != nil {
		t.Fatal(err)
	}
	data, err := (&stagev1.Record{
		Generation: 1, Prev: last.Sequence, Kind: stagev1.RecordKind_RECORD_KIND_CLOSE, Now: timestamppb.New(time.Now().AddDate(1, 0, 0)),
	}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Append(t.Context(), "vdc.1", last.Sequence, data); err != nil {
		t.Fatal(err)
	}
	b.run(t, "clock", "mend", "--dry-run").want(t, 0, "not mended", "")
	b.run(t, "clock", "mend", "--stage", "profile").want(t, 0, "no chain is ahead", "")
	b.run(t, "clock", "mend").want(t, 0, "vdc.1", "")
	b.run(t, "clock", "mend").want(t, 0, "no chain is ahead", "")
	tail, err := m.Last(t.Context(), "vdc.1")
	if err != nil {
		t.Fatal(err)
	}
	rec := &stagev1.Record{}
	if err := rec.UnmarshalVT(tail.Data); err != nil || rec.GetKind() != stagev1.RecordKind_RECORD_KIND_MEND || rec.GetNow().AsTime().After(time.Now()) {
		t.Errorf("the chain ends with %v (%v)", rec, err)
	}
}

// A stream that was made anew is not taken for the one that was provisioned, unless the operator says so.
func TestProvisionAcceptsARestoredStream(t *testing.T) {
	m, _, err := log.ProvisionMemory(t.Context(), log.Generation{Number: 1, Partitions: 2, Streams: 1, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{site: m}
	m.Recreate("EVENTS-g1-0")
	b.run(t, "provision", "--partitions", "2").want(t, 2, "", "stream EVENTS-g1-0 was made anew")
	b.run(t, "provision", "--partitions", "2", "--accept", "NOBODY").want(t, 2, "", "no stream of that name")
	b.run(t, "provision", "--partitions", "2", "--accept", "EVENTS-g1-0").want(t, 0, "generation 1 is ready", "")
	b.run(t, "provision", "--partitions", "2").want(t, 0, "generation 1 is ready", "")
}
