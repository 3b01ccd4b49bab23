package channel

import (
	"net/netip"
	"testing"
	"time"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/event"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func local(t *testing.T) Options {
	t.Helper()
	return Options{
		DataDir: t.TempDir(),
		Allow:   []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Secret:  func(name string) (string, bool) { return secret, name == "HOOK_SECRET" },
	}
}

func message(proposal string) Message {
	return Message{
		Proposal: proposal, Action: "welcome", Treatment: "mail", Channel: "email", Purpose: "marketing", Topic: "news",
		Tenant: "default", Customer: "0a1b", To: "customer", Address: "ada@shop.example",
		Subject: "Grüße, Ada", Body: "Hello Ada,\n.\n..and a line that is long: " + long + "\n",
		Context: []*eventv1.Property{{Name: "total", Value: event.Number(12.5)}},
		Token:   "tok", UnsubscribeURL: "http://127.0.0.1:8080/u/tok", ListID: "news.shop.example",
		At: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC),
	}
}

const long = "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 ü"

type outcome struct {
	status    dispatchv1.Status
	transient bool
}

func (o outcome) check(t *testing.T, r delivery.Result) {
	t.Helper()
	if got := (outcome{r.Status, r.Transient}); got != o {
		t.Errorf("result = %v transient=%v, want %v transient=%v", r.Status, r.Transient, o.status, o.transient)
	}
}

func isAccepted() outcome { return outcome{status: dispatchv1.Status_STATUS_ACCEPTED} }
func isRejected() outcome { return outcome{status: dispatchv1.Status_STATUS_REJECTED} }
func isUnknown() outcome  { return outcome{status: dispatchv1.Status_STATUS_UNKNOWN} }
func isUnsent() outcome   { return outcome{status: dispatchv1.Status_STATUS_UNSENT} }
func isLater() outcome    { return outcome{status: dispatchv1.Status_STATUS_UNSENT, transient: true} }
