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
		{"two leaves, the most restrictive", records{record(yes, "email", "news", 9), record(no, "email", "news", 1)}, consent.Withdrawn, "e1"},
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

func drawRecord(t *rapid.T) *profilev1.ConsentRecord {
	r := record(rapid.SampledFrom([]eventv1.ConsentState{yes, no}).Draw(t, "state"),
		rapid.SampledFrom([]string{"*", "email", "sms"}).Draw(t, "channel"),
		rapid.SampledFrom([]string{"*", "news", "offers"}).Draw(t, "topic"),
		rapid.IntRange(0, 4).Draw(t, "at"))
	r.Cause = rapid.StringMatching(`[a-c]{2}`).Draw(t, "cause")
	if rapid.Bool().Draw(t, "ends") {
		until(r, rapid.IntRange(0, 8).Draw(t, "end"))
	}
	return r
}

func TestPutDoesNotDependOnOrderOrRepeats(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOfN(rapid.Custom(drawRecord), 0, 12).Draw(t, "records")
		var once, other []*profilev1.ConsentRecord
		for _, r := range in {
			once, _ = consent.Put(once, r)
		}
		for _, r := range rapid.Permutation(slices.Concat(in, in)).Draw(t, "permuted") {
			other, _ = consent.Put(other, r)
		}
		if diff := cmp.Diff(once, other, protocmp.Transform(), protocmp.IgnoreFields(&profilev1.ConsentRecord{}, "cause")); diff != "" {
			t.Fatalf("order mattered (-in order +permuted, repeated):\n%s", diff)
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
