package ingestsvc

import (
	"net/http"
	"strings"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

// providerReceipt is what a channel's provider, or the adapter in front of it, reports about a delivery.
type providerReceipt struct {
	Token string `json:"token"`
	// Kind is delivered, bounced, complained, or an outcome: impression, click, accept, dismiss, convert.
	Kind string `json:"kind"`
	// ID makes repeats recognisable; without it a receipt of one kind counts once per token.
	ID     string `json:"id"`
	At     any    `json:"at"`
	Reason string `json:"reason"`
}

// receipts serves POST /v1/receipts/{channel}. The token is the credential: it names tenant, delivery and
// customer, and is signed.
func (h *httpEntrances) receipts(w http.ResponseWriter, r *http.Request) {
	visit, body := h.read(w, r, viaReceipt, maxEvent)
	if visit == nil {
		return
	}
	defer visit.Leave()
	if err := guardJSON(body); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	var in providerReceipt
	if err := decodeJSON(body, &in); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	token, why := h.door.verify(in.Token, "", h.door.clock.Now())
	if why != "" {
		fail(w, http.StatusBadRequest, "token: "+why)
		return
	}
	channel := r.PathValue("channel")
	if token.GetChannel() != channel {
		fail(w, http.StatusBadRequest, "token: belongs to another channel")
		return
	}
	it := receiptItem(in, body)
	h.store(w, r, submission{tenant: token.GetTenant(), via: viaReceipt, items: []*item{it}, visit: visit})
}

func receiptItem(in providerReceipt, raw []byte) *item {
	it := &item{raw: raw}
	kind := event.ReceiptKindOf(in.Kind)
	if kind == eventv1.OutcomeKind_OUTCOME_KIND_UNSPECIFIED {
		it.problem("kind", "is not delivered, bounced, complained, impression, click, accept, dismiss or convert")
		return it
	}
	it.event = &eventv1.Event{
		Id: derived("receipt", in.Token, in.Kind, in.ID), Type: in.Kind, Kind: eventv1.Kind_KIND_OUTCOME,
		Context: &eventv1.Context{Via: viaReceipt},
		Outcome: &eventv1.Outcome{Kind: kind, Token: in.Token, Reason: strings.ToValidUTF8(in.Reason, "?")},
	}
	it.happened = []stated{{"at", in.At}}
	return it
}
