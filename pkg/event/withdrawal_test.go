package event_test

import (
	"strings"
	"testing"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

// TestAWithdrawalIsNeverRefusedForItsNames has every way to name no channel or topic: the withdrawal counts for all of them.
func TestAWithdrawalIsNeverRefusedForItsNames(t *testing.T) {
	long := strings.Repeat("x", 65)
	for name, c := range map[string]struct {
		channel any
		want    string
		remark  string
	}{
		"nothing":     {nil, "*", ""},
		"blank":       {"  ", "*", ""},
		"a name":      {" email ", "email", ""},
		"a number":    {7, "7", ""},
		"a long name": {long, "*", "has 65 bytes, more than 64, so the withdrawal counts for every channel"},
		"no UTF-8":    {"\xff", "*", "is not valid UTF-8, so the withdrawal counts for every channel"},
		"a list":      {[]string{"email", "sms"}, "*", "is a list and not one name, so the withdrawal counts for every channel"},
		"a flag":      {true, "*", "is no name, so the withdrawal counts for every channel"},
		"an object":   {map[string]any{"name": "email"}, "*", "is no name, so the withdrawal counts for every channel"},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := event.Properties(map[string]any{"channel": c.channel, "topic": "news"})
			if err != nil {
				t.Fatal(err)
			}
			got, problems, remarks := event.ConsentOf(event.TypeConsentWithdrawn, list, nil)
			if len(problems) > 0 || got.GetChannel() != c.want || got.GetTopic() != "news" {
				t.Errorf("got %v, problems %v", got, problems)
			}
			if (len(remarks) > 0) != (c.remark != "") || c.remark != "" && (len(remarks) != 1 || remarks[0] != event.Problem{Field: "properties.channel", Why: c.remark}) {
				t.Errorf("remarks %v, want %q", remarks, c.remark)
			}
		})
	}
}

// TestAWithdrawalInProtobufIsNeverRefusedForItsNames holds what comes as a Consent to the same.
func TestAWithdrawalInProtobufIsNeverRefusedForItsNames(t *testing.T) {
	for topic, remarked := range map[string]bool{"": false, strings.Repeat("x", 65): true, "\xff": true} {
		e := good()
		e.Kind = eventv1.Kind_KIND_CONSENT
		e.Consent = &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, Channel: topic, Topic: topic}
		remarks := event.Mend(e)
		if c := e.GetConsent(); c.GetChannel() != "*" || c.GetTopic() != "*" || (len(remarks) == 2) != remarked {
			t.Errorf("%q: got %v, remarks %v", topic, c, remarks)
		}
		if problems := event.Validate(e); len(problems) > 0 {
			t.Errorf("%q: problems %v", topic, problems)
		}
		e.Consent = &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_GIVEN, Channel: topic, Topic: topic}
		if event.Mend(e); len(event.Validate(e)) != 2 {
			t.Errorf("%q: a permission for it is taken", topic)
		}
	}
}

func TestDetailsOfAWithdrawalThatAreNoTextsAreRemarked(t *testing.T) {
	list, err := event.Properties(map[string]any{"basis": 7, "evidence": []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	c, problems, remarks := event.ConsentOf(event.TypeConsentWithdrawn, list, nil)
	if c.GetBasis() != "7" || c.GetEvidence() != "" || len(problems) > 0 || len(remarks) != 1 || remarks[0].Field != "properties.evidence" {
		t.Errorf("got %v, problems %v, remarks %v", c, problems, remarks)
	}
}
