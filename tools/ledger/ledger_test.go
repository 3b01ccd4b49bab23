package ledger

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
)

const (
	sent       = decisionv1.Resolution_RESOLUTION_SENT
	suppressed = decisionv1.Resolution_RESOLUTION_SUPPRESSED
	unknown    = decisionv1.Resolution_RESOLUTION_UNKNOWN
)

// A checker that finds nothing proves nothing: every kind of wrong is told.
func TestCheckTellsWhatIsWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Ledger)
		got    []Line
		want   string
	}{
		"nothing":             {func(*Ledger) {}, []Line{{Proposal: "p1"}}, ""},
		"event lost":          {func(l *Ledger) { delete(l.Applied, "e1") }, []Line{{Proposal: "p1"}}, "neither took effect"},
		"event twice":         {func(l *Ledger) { l.Applied["e1"] = 2 }, []Line{{Proposal: "p1"}}, "took effect 2 times"},
		"sent twice":          {func(*Ledger) {}, []Line{{Proposal: "p1"}, {Proposal: "p1"}}, "sent twice"},
		"sent, not received":  {func(*Ledger) {}, nil, "the channels have it 0 times"},
		"received, not sent":  {func(l *Ledger) { l.Proposals["p1"].Ends[0] = suppressed }, []Line{{Proposal: "p1"}}, "ended as RESOLUTION_SUPPRESSED, but"},
		"unknown may arrive":  {func(l *Ledger) { l.Proposals["p1"].Ends[0] = unknown }, []Line{{Proposal: "p1"}}, ""},
		"unknown may be lost": {func(l *Ledger) { l.Proposals["p1"].Ends[0] = unknown }, nil, ""},
		"two ends": {func(l *Ledger) { l.Proposals["p1"].Ends = append(l.Proposals["p1"].Ends, sent) },
			[]Line{{Proposal: "p1"}}, "ended 2 times"},
		"never made": {func(*Ledger) {}, []Line{{Proposal: "p1"}, {Proposal: "p2"}}, "which was never made"},
		"two reports": {func(l *Ledger) {
			l.Deliveries["p1"] = &Delivery{Ends: []dispatchv1.Status{dispatchv1.Status_STATUS_ACCEPTED, dispatchv1.Status_STATUS_UNSENT}}
		}, []Line{{Proposal: "p1"}}, "delivery of proposal p1 ended 2 times"},
	} {
		t.Run(name, func(t *testing.T) {
			l := &Ledger{
				Applied: map[string]int{"e1": 1}, Deliveries: map[string]*Delivery{},
				Proposals: map[string]*Proposal{"p1": {Action: "mail", Made: true, Ends: []decisionv1.Resolution{sent}}},
			}
			tc.change(l)
			_, notes := l.Check([]string{"e1", "dead"}, map[string]bool{"dead": true}, tc.got)
			if tc.want == "" && len(notes) > 0 || tc.want != "" && !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, tc.want) }) {
				t.Errorf("notes are %q, want %q", notes, tc.want)
			}
		})
	}
}

func TestRulesCountAnew(t *testing.T) {
	noon := time.Date(2011, 3, 1, 12, 0, 0, 0, time.UTC)
	l := &Ledger{
		Zones:    map[string]string{"c": "Europe/London"},
		Consents: map[string][]Consent{"c": {{At: noon.AddDate(-1, 0, 0), Given: true}, {At: noon.AddDate(0, 0, 20), Given: false}}},
	}
	rules := Rules{Caps: []Cap{{Max: 1}, {Max: 2, Per: 7 * 24 * time.Hour}, {Max: 1, Per: 30 * 24 * time.Hour, Action: "thanks"}}, QuietFrom: 20, QuietTo: 8}
	mail := func(action string, days, hours int) Line {
		return Line{Action: action, Customer: "c", At: noon.AddDate(0, 0, days).Add(time.Duration(hours) * time.Hour)}
	}
	for name, tc := range map[string]struct {
		got      []Line
		exceeded int
		want     string
	}{
		"fine":            {[]Line{mail("a", 0, 0), mail("a", 1, 0), mail("a", 7, 1)}, 0, ""},
		"twice a day":     {[]Line{mail("a", 0, 0), mail("b", 0, 1)}, 1, "exceeds a cap"},
		"thrice a week":   {[]Line{mail("a", 0, 0), mail("b", 1, 0), mail("a", 2, 0)}, 1, "exceeds a cap"},
		"thanks again":    {[]Line{mail("thanks", 0, 0), mail("thanks", 10, 0)}, 1, "exceeds a cap"},
		"at night":        {[]Line{mail("a", 0, 9)}, 0, "quiet hours of Europe/London"},
		"without consent": {[]Line{mail("a", 21, 0)}, 0, "without consent"},
	} {
		t.Run(name, func(t *testing.T) {
			exceeded, notes := rules.Check(l, tc.got)
			if exceeded != tc.exceeded || (tc.want == "") != (len(notes) == 0) || tc.want != "" && !strings.Contains(notes[0], tc.want) {
				t.Errorf("%d exceeded, notes %q; want %d and %q", exceeded, notes, tc.exceeded, tc.want)
			}
		})
	}
}

// Read follows real chains: it sees facts, a broken chain, and an intent that nothing allowed.
func TestReadFollowsTheChains(t *testing.T) {
	broker, gen, err := log.ProvisionMemory(t.Context(), log.Generation{Number: 1, Partitions: 1, Streams: 1, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	add := func(chain string, prev uint64, facts ...interface{ MarshalVT() ([]byte, error) }) {
		body := &stagev1.CellBody{}
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
		last, err := broker.Last(t.Context(), log.Subject(chain, 0))
		if err != nil {
			t.Fatal(err)
		}
		if prev == 0 {
			prev = last.Sequence
		}
		data, err := (&stagev1.Record{
			Prev: prev, Kind: stagev1.RecordKind_RECORD_KIND_BATCH, Now: timestamppb.Now(),
			Cells: []*stagev1.Cell{{Key: "default/c/0a", Sealed: sealed}},
		}).MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := broker.Append(t.Context(), log.Subject(chain, 0), last.Sequence, data); err != nil {
			t.Fatal(err)
		}
	}
	add("prf", 0, &profilev1.Fact{Fact: &profilev1.Fact_EventApplied{EventApplied: &profilev1.EventApplied{Event: &eventv1.Event{Id: "e1"}, Created: true}}})
	intent := &dispatchv1.Fact{Fact: &dispatchv1.Fact_IntentDeclared{IntentDeclared: &dispatchv1.IntentDeclared{Proposal: "p1", Attempt: 1}}}
	add("snd", 0, &dispatchv1.Fact{Fact: &dispatchv1.Fact_DeliveryQueued{DeliveryQueued: &dispatchv1.DeliveryQueued{Proposal: "p1", Channel: "email"}}}, intent)
	l, err := Read(t.Context(), broker, gen)
	if err != nil || l.Applied["e1"] != 1 || !l.Profiles["default/c/0a"] || l.Deliveries["p1"].Intents != 1 || len(l.Notes) > 0 {
		t.Fatalf("read %+v, %v", l, err)
	}
	add("snd", 0, intent)
	add("act", 77)
	l, err = Read(t.Context(), broker, gen)
	if err != nil || len(l.Notes) != 2 {
		t.Fatalf("notes are %q, %v; want the second intent and the broken chain", l.Notes, err)
	}
}
