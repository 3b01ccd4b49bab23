//go:build unix

package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/embed/embedtest"
	"refrain.dev/pkg/log"
	"refrain.dev/tools/internal/fleet"
	"refrain.dev/tools/ledger"
)

func TestRedisIsSetBackToWhatItHadWritten(t *testing.T) {
	embedtest.Require(t, "redis")
	s, err := newStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.kill(); err != nil {
			t.Error(err)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	client := s.client()
	t.Cleanup(func() { _ = client.Close() })
	want := func(when, value string) {
		t.Helper()
		if got := client.Get(t.Context(), "k").Val(); got != value {
			t.Errorf("%s it holds %q, want %q", when, got, value)
		}
	}
	must(s.start(t.Context()))
	must(client.Set(t.Context(), "k", "first", 0).Err())
	kept, err := s.keep(t.Context())
	must(err)
	must(client.Set(t.Context(), "k", "second", 0).Err())
	must(s.kill())
	must(s.start(t.Context()))
	want("after a kill", "second")
	must(s.kill())
	must(s.setBack(kept))
	must(s.start(t.Context()))
	want("set back", "first")
	must(s.kill())
	must(s.forget())
	must(s.start(t.Context()))
	want("emptied", "")
}

func TestEveryCatalogOfTheRunCompilesAndHasOtherRules(t *testing.T) {
	seen := map[string]bool{}
	for n := range variants {
		dir := filepath.Join(t.TempDir(), "shop")
		err := writeShop(dir, map[string]any{"Cap": 3 + n, "Thanks": 2, "Approval": 20, "Provider": "http://127.0.0.1:1", "SecretEnv": secretEnv})
		if err != nil {
			t.Fatal(err)
		}
		w, err := fleet.Compile(dir)
		if err != nil {
			t.Fatal(err)
		}
		seen[w.Revision] = true
		rules, err := ledger.ReadDefinitions(os.DirFS(dir))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(rules.Policies, func(p ledger.Policy) bool { return len(p.Limits) == 2 && p.Limits[0].Max == 3+n }) {
			t.Errorf("the check does not know the cap of catalog %d", n)
		}
	}
	if len(seen) != variants {
		t.Errorf("%d revisions, want %d", len(seen), variants)
	}
}

func TestAHandOverIsMeasuredFromWhenThereWasWork(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	record := func(s int, kind stagev1.RecordKind) log.Message {
		data, err := proto.Marshal(&stagev1.Record{Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		return log.Message{Time: at(s), Data: data}
	}
	const open, work = stagev1.RecordKind_RECORD_KIND_OPEN, stagev1.RecordKind_RECORD_KIND_BATCH
	chain := []log.Message{
		record(0, open), record(1, work), // nothing before it
		record(20, open), record(21, work), // there was work from 12 on
		record(30, work),                   // no change of hands
		record(40, open), record(50, work), // work came after the OPEN only
		record(60, open), record(61, open), record(62, work), // nothing to do
	}
	arrivals := []time.Time{at(1), at(12), at(13), at(29), at(48)}
	if got, want := standing(chain, arrivals), []time.Duration{9 * time.Second, 2 * time.Second}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func someTraffic(seed uint64) *traffic {
	return &traffic{random: rand.New(rand.NewPCG(seed, 1)), clients: &clients{world: &world{tally: newTally()}}} //nolint:gosec // choices of a test
}

func TestTheSameSeedMakesTheSameTraffic(t *testing.T) {
	say := func(seed uint64) []string {
		tr := someTraffic(seed)
		var out []string
		for range 5 {
			out = append(out, tr.introduce().events[0].ID)
		}
		for range 50 {
			for _, r := range []request{tr.track("order_placed"), tr.link(), tr.consent(eventv1.ConsentState_CONSENT_STATE_WITHDRAWN), tr.bulk()} {
				for _, e := range r.events {
					out = append(out, e.ID, e.Identifiers[0])
				}
			}
		}
		return out
	}
	if !slices.Equal(say(1), say(1)) || slices.Equal(say(1), say(2)) {
		t.Error("the traffic does not follow from the seed alone")
	}
}

func TestAnOptOutIsInTheClientsLogAsOne(t *testing.T) {
	tr := someTraffic(1)
	tr.customers = 9
	for range 20 {
		r := tr.consent(eventv1.ConsentState_CONSENT_STATE_WITHDRAWN)
		if o := r.events[0].OptOut; o == nil || o.Channel != "email" || !r.messages[0].GetAt().AsTime().After(time.Time{}) {
			t.Fatalf("got %+v", r.events[0])
		}
	}
	if tr.consent(eventv1.ConsentState_CONSENT_STATE_GIVEN).events[0].OptOut != nil {
		t.Error("a permission counts as an opt-out")
	}
}
