package consent_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/consent"
)

const (
	yes = eventv1.ConsentState_CONSENT_STATE_GIVEN
	no  = eventv1.ConsentState_CONSENT_STATE_WITHDRAWN
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func hour(n int) time.Time { return start.Add(time.Duration(n) * time.Hour) }

func record(state eventv1.ConsentState, channel, topic string, at int) *profilev1.ConsentRecord {
	return &profilev1.ConsentRecord{
		Consent: &eventv1.Consent{State: state, Channel: channel, Topic: topic},
		At:      timestamppb.New(hour(at)), Cause: fmt.Sprintf("e%d", at),
	}
}

func until(r *profilev1.ConsentRecord, end int) *profilev1.ConsentRecord {
	r.Consent.ExpiresAt = timestamppb.New(hour(end))
	return r
}

func TestEvaluate(t *testing.T) {
	type records = []*profilev1.ConsentRecord
	tests := []struct {
		name    string
		records records
		want    consent.State
		cause   string
	}{
		{"nothing known", nil, consent.Missing, ""},
		{"another channel says nothing", records{record(yes, "sms", "news", 1)}, consent.Missing, ""},
		{"another topic says nothing", records{record(yes, "email", "offers", 1)}, consent.Missing, ""},
		{"exact permission", records{record(yes, "email", "news", 1)}, consent.Given, "e1"},
		{"permission for all", records{record(yes, "*", "*", 1)}, consent.Given, "e1"},
		{"topic beats channel", records{record(yes, "email", "*", 2), record(no, "email", "news", 1)}, consent.Withdrawn, "e1"},
		{"newer topic permission beats older channel withdrawal", records{record(no, "email", "*", 1), record(yes, "email", "news", 2)}, consent.Given, "e2"},
		{"newer channel withdrawal ends the topic permission", records{record(no, "email", "*", 3), record(yes, "email", "news", 2)}, consent.Withdrawn, "e3"},
		{"channel comes before topic on any channel", records{record(yes, "email", "*", 1), record(no, "*", "news", 2)}, consent.Given, "e1"},
		{"topic on any channel before all", records{record(no, "*", "*", 1), record(yes, "*", "news", 2)}, consent.Given, "e2"},
		{"newer global withdrawal dominates", records{record(no, "*", "*", 5), record(yes, "email", "news", 4)}, consent.Withdrawn, "e5"},
		{"global withdrawal at the same time dominates", records{record(no, "*", "*", 4), record(yes, "email", "news", 4)}, consent.Withdrawn, "e4"},
		{"older global withdrawal does not", records{record(no, "*", "*", 3), record(yes, "email", "news", 4)}, consent.Given, "e4"},
		{"expired", records{until(record(yes, "email", "news", 1), 10)}, consent.Expired, "e1"},
		{"an expired permission is absent", records{until(record(yes, "email", "news", 2), 10), record(yes, "email", "*", 1)}, consent.Given, "e1"},
		{"not yet expired", records{until(record(yes, "email", "news", 1), 11)}, consent.Given, "e1"},
		{"two leaves, the most restrictive", consent.Merge(records{record(yes, "email", "news", 9)}, records{record(no, "email", "news", 1)}), consent.Withdrawn, "e1"},
		{
			"what lifted a withdrawal has expired, so that it stands again",
			put(record(yes, "email", "*", 1), record(no, "email", "news", 2), until(record(yes, "email", "news", 3), 10)), consent.Withdrawn, "e2",
		},
		{
			"a wider withdrawal by a slow clock ends the permission before it",
			put(record(yes, "email", "news", 4), arrived(record(no, "email", "*", 2), 5)), consent.Withdrawn, "e2",
		},
		{
			"a permission by the same slow clock lifts it, though another claims a later time",
			put(record(yes, "email", "news", 4), arrived(record(no, "email", "*", 2), 5), arrived(record(yes, "email", "news", 3), 6)), consent.Given, "e3",
		},
		{
			"a wider permission after a wider withdrawal does not bring the narrow one back",
			put(until(record(yes, "email", "news", 1), 9), record(no, "email", "*", 2), record(yes, "email", "*", 3)), consent.Given, "e3",
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, r := consent.Evaluate(tc.records, "email", "news", hour(10))
			if got != tc.want || r.GetCause() != tc.cause {
				t.Errorf("Evaluate = %v by %q, want %v by %q", got, r.GetCause(), tc.want, tc.cause)
			}
		})
	}
}

func TestCodeOfState(t *testing.T) {
	want := map[consent.State]reasonv1.Code{
		consent.Missing:   reasonv1.Code_CODE_CONSENT_MISSING,
		consent.Given:     reasonv1.Code_CODE_UNSPECIFIED,
		consent.Withdrawn: reasonv1.Code_CODE_UNSUBSCRIBED,
		consent.Expired:   reasonv1.Code_CODE_CONSENT_EXPIRED,
	}
	for s, code := range want {
		if got := s.Code(); got != code {
			t.Errorf("%v.Code() = %v, want %v", s, got, code)
		}
	}
}

func TestWithdrawalBeatsPermissionAtEqualTimes(t *testing.T) {
	for _, order := range [][2]eventv1.ConsentState{{yes, no}, {no, yes}} {
		list, _ := consent.Put(nil, record(order[0], "email", "news", 1))
		list, _ = consent.Put(list, record(order[1], "email", "news", 1))
		if len(list) != 1 || list[0].GetConsent().GetState() != no {
			t.Errorf("after %v: %v, want one withdrawal", order, list)
		}
	}
}

// arrived says when a statement arrived, in hours.
func arrived(r *profilev1.ConsentRecord, at int) *profilev1.ConsentRecord {
	r.Arrived = &profilev1.Arrived{ReceivedAt: timestamppb.New(hour(at)), StoredAt: timestamppb.New(hour(at))}
	return r
}

// under says under which identifier a statement arrived, and at which place in that one's lane.
func under(r *profilev1.ConsentRecord, id string, place int) *profilev1.ConsentRecord {
	r.Arrived.Under, r.Arrived.Sequence, r.Arrived.Index = []byte(id), uint64(place), 1 //nolint:gosec // small
	return r
}

func put(statements ...*profilev1.ConsentRecord) []*profilev1.ConsentRecord {
	var list []*profilev1.ConsentRecord
	for _, r := range statements {
		list, _ = consent.Put(list, r)
	}
	return list
}

func TestAPermissionLiftsAWithdrawalOnlyIfItArrivedLaterAndClaimsNoEarlierTime(t *testing.T) {
	said := func(state eventv1.ConsentState, claims, arrives int) *profilev1.ConsentRecord {
		return arrived(record(state, "email", "news", claims), arrives)
	}
	for _, tc := range []struct {
		name   string
		yes    *profilev1.ConsentRecord
		no     *profilev1.ConsentRecord
		lifted bool
	}{
		{"in order", said(yes, 3, 3), said(no, 2, 2), true},
		{"at the same claimed time, later", said(yes, 2, 3), said(no, 2, 2), true},
		{"at the same time", said(yes, 2, 2), said(no, 2, 2), false},
		{"a history in order", said(yes, 2, 9), said(no, 1, 8), true},
		{"a permission from before that comes late", said(yes, 1, 9), said(no, 2, 2), false},
		{"a withdrawal by a slow clock after the permission", said(yes, 5, 5), said(no, 4, 6), false},
		{"a permission by the same slow clock after it", said(yes, 5, 7), said(no, 4, 6), true},
		{"two in one message, in order", under(said(yes, 2, 3), "ann", 8), under(said(no, 2, 3), "ann", 7), true},
		{"two in one message, the withdrawal last", under(said(yes, 2, 3), "ann", 7), under(said(no, 2, 3), "ann", 8), false},
		{"two identifiers in one batch", under(said(yes, 2, 3), "ann", 8), under(said(no, 2, 3), "ann@shop.example", 7), false},
		{"one lane knows better than ingest's clocks", under(said(yes, 2, 9), "ann", 7), under(said(no, 2, 3), "ann", 8), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, list := range [][]*profilev1.ConsentRecord{put(tc.yes, tc.no), put(tc.no, tc.yes)} {
				got, _ := consent.Evaluate(list, "email", "news", hour(10))
				if lifted := got == consent.Given; lifted != tc.lifted || len(list) != 1 {
					t.Errorf("%v: lifted %v, want %v", list, lifted, tc.lifted)
				}
			}
		})
	}
}

func TestAPermissionFromTheDeadLettersLiftsNothingAndAWithdrawalIsLiftedByWhatWasReceivedLater(t *testing.T) {
	back := func(r *profilev1.ConsentRecord) *profilev1.ConsentRecord {
		r.Arrived.StoredAt = nil
		return r
	}
	for _, tc := range []struct {
		yes, no *profilev1.ConsentRecord
		want    consent.State
	}{
		{back(arrived(record(yes, "email", "news", 5), 5)), arrived(record(no, "email", "news", 3), 3), consent.Withdrawn},
		{arrived(record(yes, "email", "news", 5), 5), back(arrived(record(no, "email", "news", 3), 3)), consent.Given},
		{arrived(record(yes, "email", "news", 5), 5), back(arrived(record(no, "email", "news", 3), 6)), consent.Withdrawn},
		{back(arrived(record(yes, "email", "news", 5), 5)), record(no, "sms", "news", 3), consent.Given},
	} {
		if got, _ := consent.Evaluate(put(tc.yes, tc.no), "email", "news", hour(10)); got != tc.want {
			t.Errorf("%v and %v: %v, want %v", tc.yes, tc.no, got, tc.want)
		}
	}
}

func TestNeitherClockAloneLetsAPermissionOvertakeAWithdrawalUnderAnotherIdentifier(t *testing.T) {
	for _, ahead := range []func(*profilev1.Arrived, *timestamppb.Timestamp){
		func(a *profilev1.Arrived, t *timestamppb.Timestamp) { a.ReceivedAt = t },
		func(a *profilev1.Arrived, t *timestamppb.Timestamp) { a.StoredAt = t },
	} {
		given := under(arrived(record(yes, "email", "news", 5), 5), "ann", 7)
		ahead(given.GetArrived(), timestamppb.New(hour(90)))
		got, _ := consent.Evaluate(put(given, under(arrived(record(no, "email", "news", 5), 6), "ann@shop.example", 3)), "email", "news", hour(10))
		if got != consent.Withdrawn {
			t.Errorf("with %v: %v, want withdrawn", given.GetArrived(), got)
		}
	}
}

func drawRecord(t *rapid.T) *profilev1.ConsentRecord {
	r := record(rapid.SampledFrom([]eventv1.ConsentState{yes, no}).Draw(t, "state"),
		rapid.SampledFrom([]string{"*", "email", "sms"}).Draw(t, "channel"),
		rapid.SampledFrom([]string{"*", "news", "offers"}).Draw(t, "topic"),
		0)
	arrives := rapid.IntRange(0, 9).Draw(t, "arrives")
	r.At = timestamppb.New(hour(min(rapid.IntRange(0, 9).Draw(t, "claims"), arrives)))
	arrived(r, arrives)
	r.Cause = rapid.StringMatching(`[a-c]{2}`).Draw(t, "cause")
	if rapid.Bool().Draw(t, "ends") && r.GetConsent().GetState() == yes {
		until(r, rapid.IntRange(0, 8).Draw(t, "end"))
	}
	return r
}

func TestPutDoesNotDependOnOrderOrRepeats(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOfN(rapid.Custom(drawRecord), 0, 12).Draw(t, "records")
		once, other := put(in...), put(rapid.Permutation(slices.Concat(in, in)).Draw(t, "permuted")...)
		if diff := cmp.Diff(once, other, protocmp.Transform()); diff != "" && !crowded(once) && !crowded(other) {
			t.Fatalf("order mattered (-in order +permuted, repeated):\n%s", diff)
		}
	})
}

// crowded says whether more may have been said about one channel and topic than is kept.
func crowded(list []*profilev1.ConsentRecord) bool {
	return slices.ContainsFunc(list, func(r *profilev1.ConsentRecord) bool { return len(r.GetBeside()) >= 3 })
}

// naive says what all that was ever said about one channel and topic amounts to, by the rule alone.
func naive(said []*profilev1.ConsentRecord) consent.State {
	var best *profilev1.ConsentRecord
	state := consent.Missing
	for _, p := range said {
		if p.GetConsent().GetState() == no {
			state = consent.Withdrawn
			continue
		}
		lifts := !slices.ContainsFunc(said, func(w *profilev1.ConsentRecord) bool {
			return w.GetConsent().GetState() == no && !consent.Lifts(p, w)
		})
		if lifts && (best == nil || p.GetAt().AsTime().After(best.GetAt().AsTime())) {
			best = p
		}
	}
	if best != nil {
		return consent.Given
	}
	return state
}

func TestWhatIsKeptAmountsToAllThatWasSaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		said := rapid.SliceOfN(rapid.Custom(drawRecord), 1, 30).Draw(t, "statements")
		for _, r := range said {
			r.Consent.Channel, r.Consent.Topic, r.Consent.ExpiresAt = "email", "news", nil
		}
		list := put(said...)
		got, _ := consent.Evaluate(list, "email", "news", hour(5))
		if want := naive(said); got != want && (got != consent.Withdrawn || !crowded(list)) {
			t.Fatalf("Evaluate = %v, want %v", got, want)
		}
		if n := len(list[0].GetBeside()); n > 7 {
			t.Fatalf("%d statements are kept beside the one in force", n)
		}
	})
}

func TestAddingAWithdrawalNeverPermits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []*profilev1.ConsentRecord
		for _, r := range rapid.SliceOfN(rapid.Custom(drawRecord), 0, 8).Draw(t, "records") {
			list, _ = consent.Put(list, r)
		}
		w := drawRecord(t)
		w.Consent.State, w.Consent.ExpiresAt = no, nil
		before, _ := consent.Evaluate(list, "email", "news", hour(5))
		list, _ = consent.Put(list, w)
		after, _ := consent.Evaluate(list, "email", "news", hour(5))
		if before != consent.Given && after == consent.Given {
			t.Fatalf("a withdrawal turned %v into %v", before, after)
		}
	})
}

func TestMergeIsTheMostRestrictive(t *testing.T) {
	a := []*profilev1.ConsentRecord{record(yes, "email", "news", 5), record(yes, "sms", "*", 1)}
	b := []*profilev1.ConsentRecord{record(no, "email", "news", 1), until(record(yes, "sms", "*", 1), 9)}
	got := consent.Merge(a, b)
	want := []*profilev1.ConsentRecord{b[0], b[1]}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Fatalf("Merge (-want +got):\n%s", diff)
	}
}
