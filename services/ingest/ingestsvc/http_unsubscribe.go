package ingestsvc

import (
	"cmp"
	"html/template"
	"net/http"
	"strings"
	"time"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// oneClick is the form field of RFC 8058; whoever follows a link without posting it changes nothing.
const oneClick, oneClickValue = "List-Unsubscribe", "One-Click"

// basisOneClick is the basis of consent that was withdrawn by one click.
const basisOneClick = "one_click"

// unsubscribe serves the links of List-Unsubscribe: GET shows a page with a button and has no effect;
// POST withdraws consent for the token's channel and topic and answers when that is stored. Links do not
// expire.
func (h *httpEntrances) unsubscribe(w http.ResponseWriter, r *http.Request) {
	pageHeaders(w)
	token, why := h.door.verify(r.PathValue("token"), "", time.Time{})
	if why != "" {
		show(w, http.StatusNotFound, page{Title: "This link does not work", Text: "It is not one of ours, or it was cut off. Please use the whole link from the message."})
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		show(w, http.StatusOK, page{Title: "Unsubscribe", Text: "One click and it is done.", Button: true})
	case http.MethodPost:
		h.withdraw(w, r, token)
	default:
		w.Header().Set("Allow", "GET, POST")
		show(w, http.StatusMethodNotAllowed, page{Title: "Unsubscribe", Text: "Please open this link in a browser."})
	}
}

func (h *httpEntrances) withdraw(w http.ResponseWriter, r *http.Request, token *decisionv1.Token) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if !strings.EqualFold(r.PostFormValue(oneClick), oneClickValue) {
		show(w, http.StatusBadRequest, page{Title: "Unsubscribe", Text: "Please confirm.", Button: true})
		return
	}
	it := withdrawal(token, r.PathValue("token"))
	visit, err := h.door.gate.Enter(maxForm, overload.Urgent)
	if err == nil {
		defer visit.Leave()
		err = h.door.begin(r.Context(), visit, overload.Urgent, "")
	}
	var result receipt
	if err == nil {
		result, err = h.door.take(r.Context(), submission{tenant: token.GetTenant(), via: viaUnsubscribe, items: []*item{it}, visit: visit})
	}
	if err != nil || len(result.results[0].refused) > 0 {
		w.Header().Set("Retry-After", "1")
		show(w, http.StatusServiceUnavailable, page{Title: "Please try again", Text: "Your wish could not be stored yet.", Button: true})
		return
	}
	w.Header().Set(positionHeader, answerTo(result).header())
	show(w, http.StatusOK, page{Title: "Done", Text: "You will not get these messages any more."})
}

// maxForm bounds the form of a button.
const maxForm = 16 << 10

// withdrawal is the event of a one-click opt-out. Its id is made on arrival: who opts out, in again, and
// out again with the same link means it each time, and a repeat does no harm.
func withdrawal(token *decisionv1.Token, text string) *item {
	it := &item{raw: []byte(text), forever: true}
	it.event = &eventv1.Event{
		Type: event.TypeConsentWithdrawn, Kind: eventv1.Kind_KIND_CONSENT,
		Context: &eventv1.Context{Via: viaUnsubscribe},
		Consent: &eventv1.Consent{
			State:   eventv1.ConsentState_CONSENT_STATE_WITHDRAWN,
			Channel: cmp.Or(token.GetChannel(), "*"), Topic: cmp.Or(token.GetTopic(), "*"),
			Basis: basisOneClick, Evidence: cmp.Or(token.GetProposal(), token.GetDecision()),
		},
	}
	it.about(token)
	return it
}

// page is one of the few things that a customer sees of Refrain.
type page struct {
	Title, Text string
	Button      bool
}

const pageHTML = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>{{.Title}}</title>
<body><main><h1>{{.Title}}</h1><p>{{.Text}}</p>
{{if .Button}}<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click"><button>Unsubscribe</button></form>{{end}}
</main></body></html>
`

func pageHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

func show(w http.ResponseWriter, status int, p page) {
	w.WriteHeader(status)
	_ = template.Must(template.New("page").Parse(pageHTML)).Execute(w, p)
}
