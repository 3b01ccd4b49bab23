package ingestsvc

import (
	"context"
	"strings"
	"testing"

	"refrain.dev/pkg/consent"
	"refrain.dev/pkg/event"
)

// namingKinds are the default kinds where channels and topics are defined, a topic of them only from the next look on.
type namingKinds struct {
	defaultKinds

	looks *int
}

func (n namingKinds) Names(string) *consent.Names {
	topics := []string{"news"}
	if *n.looks > 0 {
		topics = append(topics, "offers")
	}
	return consent.NewNames([]string{"email", "sms"}, topics)
}

func (n namingKinds) Look(context.Context) { *n.looks++ }

func TestAPermissionThatNamesWhatNoDefinitionHasIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		event, channel, topic string
		field, why            string // of the refusal, or of the remark on what is accepted
		refused               bool
	}{
		"as defined":            {event: "consent_given", channel: "email", topic: "news"},
		"written otherwise":     {event: "consent_given", channel: "E-Mail", topic: "NEWS"},
		"for all":               {event: "consent_given", channel: "*", topic: "*"},
		"applied a moment ago":  {event: "consent_given", channel: "email", topic: "offers"},
		"a misspelt channel":    {event: "consent_given", channel: "emial", topic: "news", refused: true, field: "properties.channel", why: "did you mean email?"},
		"a topic that is none":  {event: "consent_given", channel: "email", topic: "weather", refused: true, field: "properties.topic", why: "there are news"},
		"withdrawn, misspelt":   {event: "consent_withdrawn", channel: "emial", topic: "news", field: "properties.channel", why: "counts for every channel: did you mean email?"},
		"withdrawn, otherwise":  {event: "consent_withdrawn", channel: "E-mail", topic: "news"},
		"withdrawn, whatever":   {event: "consent_withdrawn", channel: "email", topic: "weather", field: "properties.topic", why: "counts for every topic"},
		"withdrawn, at length":  {event: "consent_withdrawn", channel: strings.Repeat("x", 73), topic: "news", field: "properties.channel", why: "has 73 bytes, more than 64, so the withdrawal counts for every channel"},
		"withdrawn, everything": {event: "consent_withdrawn", channel: "", topic: ""},
	} {
		t.Run(name, func(t *testing.T) {
			f, looks := newFixture(t), 0
			f.door.kinds = namingKinds{defaultKinds{event.DefaultKinds()}, &looks}
			_, a, _ := f.post("/v1/track", `{"userId":"u1","event":"`+c.event+`","timestamp":"2026-11-21T11:00:00Z","properties":{"channel":"`+c.channel+`","topic":"`+c.topic+`"}}`)
			if c.refused {
				if len(a.Refused) != 1 || a.Refused[0].Field != c.field || !strings.Contains(a.Refused[0].Why, c.why) || len(f.stored("control")) != 0 {
					t.Fatalf("refused %+v, want %s: %s", a.Refused, c.field, c.why)
				}
				return
			}
			e := f.one("control")
			if got := len(e.GetRemarks()); (got > 0) != (c.field != "") || got > 0 && (e.GetRemarks()[0].GetField() != c.field || !strings.Contains(e.GetRemarks()[0].GetWhy(), c.why)) {
				t.Errorf("remarks %v, want %s: %s", e.GetRemarks(), c.field, c.why)
			}
			if len(a.Remarks) != len(e.GetRemarks()) {
				t.Errorf("the publisher is told %+v", a.Remarks)
			}
		})
	}
}
