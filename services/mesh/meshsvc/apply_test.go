package meshsvc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// An edit of a policy counts for what is decided from then on.
func TestAnAppliedPolicyChangesTheAnswer(t *testing.T) {
	r := start(t, words{"CAP": "1"})
	r.customer("ada")
	r.order("ada", "order-1")
	r.waitFor(user("ada"), "contact_sent", 1)
	mail := &contactv1.Contact{Action: "thanks", Channel: "email"}
	first := r.check(user("ada"), mail)
	if first.GetKind() == approved || first.GetReasons()[0].GetCode() != reasonv1.Code_CODE_CAP_REACHED {
		t.Fatalf("with a cap of 1: %v", first)
	}
	revision, err := r.Apply(t.Context(), workspace(t, t.TempDir(), words{"CAP": "2"}))
	if err != nil {
		t.Fatal(err)
	}
	if revision == first.GetReasons()[0].GetRevision() {
		t.Fatalf("an edited workspace has the revision of the old one, %s", revision)
	}
	r.eventually("the new policy is in force", func() bool { return r.check(user("ada"), mail).GetKind() == approved })
	r.order("ada", "order-2")
	r.waitFor(user("ada"), "contact_sent", 2)
	last := r.check(user("ada"), mail)
	if last.GetKind() == approved || last.GetReasons()[0].GetRevision() != revision {
		t.Errorf("after two mails: %v, want a no of revision %s", last, revision)
	}
}

// "A directory compiles to one catalog with one revision or not at all; all errors at once."
func TestABadDirectoryChangesNothingAndSaysEverythingThatIsWrong(t *testing.T) {
	r := start(t, nil)
	r.customer("ada")
	before := r.revision("ada")
	many := strings.Repeat("a", 5000)
	for name, c := range map[string]struct{ text, says string }{
		"yaml bomb":     {text: "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", says: "shop-2.yaml:1"},
		"alias":         {text: action("*v", "0.1", "&v \"1.0\""), says: "alias"},
		"no yaml":       {text: "apiVersion: [", says: "shop-2.yaml"},
		"deep yaml":     {text: "apiVersion: refrain/v1\nkind: Action\nmetadata: " + strings.Repeat("{a: ", 200) + "1" + strings.Repeat("}", 200), says: "deep"},
		"unknown kind":  {text: "apiVersion: refrain/v1\nkind: Rocket\nmetadata: {name: x}\nspec: {}\n", says: "Rocket"},
		"unknown field": {text: strings.Replace(action("'1.0'", "0.1", ""), "spec:", "spec:\n  colour: red", 1), says: "colour"},
		"deep CEL":      {text: action("'[1].map(a, [1].map(b, [1].map(c, c).size()).size()).size() > 1 ? 1.0 : 2.0'", "0.1", ""), says: "nesting"},
		"expensive CEL": {text: action(expensive(), "0.1", ""), says: "cost"},
		"endless CEL":   {text: action("'\""+many+"\" == \"\" ? 1.0 : 2.0'", "0.1", ""), says: "long"},
		"unknown trait": {text: action("traits.nobody", "0.1", ""), says: "nobody"},
		"wrong type":    {text: action("traits.name", "0.1", ""), says: "string"},
		"invalid UTF-8": {text: "apiVersion: refrain/v1\nkind: \xff\xfe\n", says: "shop-2.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := workspace(t, t.TempDir(), nil)
			if err := os.WriteFile(filepath.Join(dir, "shop-2.yaml"), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			started := time.Now()
			_, err := r.Apply(t.Context(), dir)
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "shop-2.yaml") {
				t.Errorf("answered %v, want %q and the place", err, c.says)
			}
			if took := time.Since(started); took > 5*time.Second {
				t.Errorf("the answer took %s", took)
			}
		})
	}
	if after := r.revision("ada"); after != before {
		t.Errorf("the revision in force is %s, was %s", after, before)
	}
	r.healthy("after-bad-directories")
}

// action is an Action with a value, a propensity and a subject.
func action(value, propensity, subject string) string {
	if subject == "" {
		subject = "none"
	}
	return fmt.Sprintf("apiVersion: refrain/v1\nkind: Action\nmetadata: {name: bad}\nspec:\n  purpose: service\n  propensity: '%s'\n"+
		"  treatments: [{id: a, channel: web, subject: %s}]\n  value: %s\n", propensity, subject, value)
}

// expensive is an expression that compares everything with everything.
func expensive() string {
	list := "[" + strings.Repeat("1,", 399) + "1]"
	return fmt.Sprintf(`"%s.filter(a, %s.exists(b, a + b == 7)).size() > 3 ? 1.0 : 2.0"`, list, list)
}

// revision is the catalog by which a customer is decided for now.
func (r *running) revision(name string) string {
	r.t.Helper()
	resp, err := r.decisions.NextBestActions(r.t.Context(), &decisionv1.NextBestActionsRequest{Identifier: user(name), Placement: "web-banner"})
	if err != nil {
		r.t.Fatalf("next best actions: %v", err)
	}
	return resp.GetRevision()
}

// "Enrollments pin their journey by content hash": who is in a journey finishes the one that was entered.
func TestAnEnrollmentStaysWithTheJourneyThatItEntered(t *testing.T) {
	r := start(t, words{"THINK": "PT1S"})
	cart := func(name string) {
		r.call("track", object{"userId": name, "messageId": "cart-" + name, "event": "cart_started", "properties": object{"item": "hat"}})
	}
	cart("old")
	r.waitFor(user("old"), "delivery_accepted", 1)
	if _, err := r.Apply(t.Context(), workspace(t, t.TempDir(), words{"THINK": "P30D"})); err != nil {
		t.Fatal(err)
	}
	r.waitFor(user("old"), "delivery_accepted", 2)
	cart("new")
	r.waitFor(user("new"), "delivery_accepted", 1)
	r.waitFor(user("old"), "journey_ended_completed", 1)
	if n := len(happened(r.timeline(user("new")), "journey_ended_completed")); n > 0 {
		t.Error("who entered after the edit did not wait")
	}
}
