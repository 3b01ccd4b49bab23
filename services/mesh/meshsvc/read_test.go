package meshsvc

import (
	"testing"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/config"
)

// "Outcomes come back as events and appear in the timeline."
func TestAClickByTokenStandsInTheTimelineBesideDecisionVerdictAndDelivery(t *testing.T) {
	r := start(t, nil)
	r.customer("ada")
	r.order("ada", "order-1")
	accepted := r.waitFor(user("ada"), "delivery_accepted", 1)
	sent := r.lines("email")
	if len(sent) != 1 || sent[0].Token == "" || sent[0].Proposal != accepted[0].GetId() {
		t.Fatalf("the channel got %+v, the timeline says %v", sent, accepted)
	}
	r.call("track", object{"userId": "ada", "messageId": "click-1", "event": "click", "properties": object{"token": sent[0].Token}})
	click := r.waitFor(user("ada"), "click", 1)
	if click[0].GetStage() != "profile" || click[0].GetSubject() != "thanks" {
		t.Errorf("the click is %v", click[0])
	}
	all := r.timeline(user("ada"))
	for _, what := range []string{"decision_made", "proposal_chosen", "contact_approved", "delivery_accepted"} {
		if len(happened(all, what)) != 1 {
			t.Errorf("the timeline has not one %s:\n%s", what, story(all))
		}
	}
}

// "A read-your-writes token is met when every key's meta has that origin."
func TestNextBestActionsKnowsWhatIsAtLeastThePositionOfTheEventJustAccepted(t *testing.T) {
	r := start(t, nil)
	for _, name := range []string{"u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7"} {
		at := r.order(name, "first-of-"+name).position()
		resp, err := r.decisions.NextBestActions(t.Context(), &decisionv1.NextBestActionsRequest{
			Identifier: user(name), Placement: "web-banner", AtLeast: at,
		})
		if err != nil {
			t.Fatalf("%s at %v: %v", name, at, err)
		}
		if len(resp.GetItems()) != 1 || resp.GetItems()[0].GetAction() != "banner" || len(resp.GetDegraded()) > 0 {
			t.Fatalf("%s at %v: answered %v", name, at, resp)
		}
		item := resp.GetItems()[0]
		r.call("track", object{"userId": name, "event": "accept", "properties": object{"token": item.GetToken()}})
		if seen := r.waitFor(user(name), "accept", 1); seen[0].GetSubject() != "banner" {
			t.Errorf("%s: the outcome of the item is %v", name, seen[0])
		}
	}
}

// "reserve, commit, release": room that was not committed in its lease is free again.
func TestReservedRoomIsKeptReturnedOrLapses(t *testing.T) {
	r := start(t, words{"CAP": "1"}, func(c *Config) { c.Suppression.Lease = config.Duration(2 * time.Second) })
	r.customer("bea")
	r.waitFor(user("bea"), "consent_given", 1)
	want := &contactv1.Contact{Action: "thanks", Channel: "email"}
	reserve := func(id string) *contactv1.ReserveResponse {
		t.Helper()
		resp, err := r.contacts.Reserve(t.Context(), &contactv1.ReserveRequest{Identifier: user("bea"), Contact: want, Id: id})
		if err != nil {
			t.Fatalf("reserve %s: %v", id, err)
		}
		return resp
	}
	r.eventually("consent has reached suppression", func() bool { return r.check(user("bea"), want).GetKind() == approved })
	first := reserve("reservation-1")
	if first.GetKind() != approved || first.GetLeaseUntil() == nil {
		t.Fatalf("first: %v", first)
	}
	if again := reserve("reservation-1"); again.GetKind() != approved || !again.GetLeaseUntil().AsTime().Equal(first.GetLeaseUntil().AsTime()) {
		t.Errorf("a repeat of the first: %v, want what the first got, %v", again, first)
	}
	if second := reserve("reservation-2"); second.GetKind() == approved || second.GetReasons()[0].GetCode() != reasonv1.Code_CODE_CAP_REACHED {
		t.Errorf("second: %v", second)
	}
	if _, err := r.contacts.Release(t.Context(), &contactv1.ReleaseRequest{Identifier: user("bea"), Id: "reservation-1"}); err != nil {
		t.Fatal(err)
	}
	if third := reserve("reservation-3"); third.GetKind() != approved {
		t.Fatalf("after the release: %v", third)
	}
	r.eventually("the lease is over", func() bool { return r.check(user("bea"), want).GetKind() == approved })
	if _, err := r.contacts.Commit(t.Context(), &contactv1.CommitRequest{Identifier: user("bea"), Id: "reservation-3"}); err == nil {
		t.Error("a reservation whose lease is over was committed")
	}
	if fourth := reserve("reservation-4"); fourth.GetKind() != approved {
		t.Fatalf("after the lease: %v", fourth)
	}
	for range 2 {
		if _, err := r.contacts.Commit(t.Context(), &contactv1.CommitRequest{Identifier: user("bea"), Id: "reservation-4"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.contacts.Release(t.Context(), &contactv1.ReleaseRequest{Identifier: user("bea"), Id: "reservation-4"}); err == nil {
		t.Error("a contact that was made was released")
	}
	if got := r.check(user("bea"), want); got.GetKind() == approved {
		t.Errorf("after the commit: %v", got)
	}
}

const approved = contactv1.VerdictKind_VERDICT_KIND_APPROVED

func (r *running) check(id *eventv1.Identifier, c *contactv1.Contact) *contactv1.CheckResponse {
	r.t.Helper()
	resp, err := r.contacts.Check(r.t.Context(), &contactv1.CheckRequest{Identifier: id, Contact: c})
	if err != nil {
		r.t.Fatalf("check: %v", err)
	}
	return resp
}
