package consent_test

import (
	"strings"
	"testing"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/consent"
)

func TestAStatementCountsForEverythingThatItsNamesCouldMean(t *testing.T) {
	defined := consent.NewNames([]string{"email", "push-app", "sms"}, []string{"news", "order_updates", "Offers", "of-fers"})
	for said, want := range map[string][2]string{ // as a withdrawal, as a permission
		"email/news":           {"email/news", "email/news"},
		"Email/News":           {"email/news", "email/news"},
		"e-mail/n_e w-s":       {"email/news", "email/news"},
		"E MAIL/ORDER-UPDATES": {"email/order_updates", "email/order_updates"},
		"pushApp/news":         {"push-app/news", "push-app/news"},
		"*/*":                  {"*/*", "*/*"},
		"emial/news":           {"*/news", "emial/news"},
		"email/newz":           {"email/*", "email/newz"},
		"Emial/Newz":           {"*/*", "Emial/Newz"},
		"email/Offers":         {"email/Offers", "email/Offers"},
		"email/offers":         {"email/*", "email/offers"}, // it could be either
	} {
		channel, topic, _ := strings.Cut(said, "/")
		for i, state := range []eventv1.ConsentState{no, yes} {
			got := defined.Resolve(&eventv1.Consent{State: state, Channel: channel, Topic: topic})
			if is := got.GetChannel() + "/" + got.GetTopic(); is != want[i] {
				t.Errorf("%v of %s counts for %s, want %s", state, said, is, want[i])
			}
		}
	}
}

func TestAnUnknownNameComesWithWhatMayHaveBeenMeant(t *testing.T) {
	defined := consent.NewNames([]string{"email", "sms"}, nil)
	got := defined.Unknown(&eventv1.Consent{Channel: "emial", Topic: "news"})
	if len(got) != 2 || got[0] != (consent.Unknown{"channel", "did you mean email?"}) || got[1].Field != "topic" || !strings.Contains(got[1].Remedy, "none is defined") {
		t.Errorf("unknown: %v", got)
	}
	if got := defined.Unknown(&eventv1.Consent{Channel: "fax", Topic: "*"}); len(got) != 1 || !strings.Contains(got[0].Remedy, "there are email, sms") {
		t.Errorf("unknown: %v", got)
	}
	var nothing *consent.Names
	if got := nothing.Unknown(&eventv1.Consent{Channel: "fax"}); got != nil {
		t.Errorf("unknown, though nothing is known: %v", got)
	}
}
