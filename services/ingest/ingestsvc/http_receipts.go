package ingestsvc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

// providerReceipt is what a channel's provider, or the adapter in front of it, reports about a delivery.
type providerReceipt struct {
	Token string `json:"token"`
	// Kind is delivered, bounced, complained, or what was done with it: opened, impression, click, accept, dismiss, convert.
	Kind string `json:"kind"`
	// ID makes repeats recognisable; without it a receipt of one kind counts once per token.
	ID     string `json:"id"`
	At     any    `json:"at"`
	Reason string `json:"reason"`

	signals signals
	odd     []event.Problem // what cannot be read and can be missed
}

// readReceipt reads a body. An error means that it is no object; whatever is in it, a complaint is not lost for a field that
// can be missed.
func readReceipt(body []byte) (r providerReceipt, err error) {
	if !begins(body, '{') {
		return r, errors.New("is not a JSON object")
	}
	members, err := membersOf(body, maxJSONDepth)
	if err != nil {
		return r, err
	}
	for name, into := range map[string]*string{"token": &r.Token, "kind": &r.Kind} {
		v, _ := loose(valid(named(members, name))) // both are needed: what is none is refused by its value
		*into, _ = textOf(v)
	}
	optional := func(name string) any {
		v, why := loose(valid(named(members, name)))
		if why != "" {
			r.odd = append(r.odd, event.SetAside(name, why))
		}
		return v
	}
	for _, f := range []struct {
		name string
		into *string
	}{{"id", &r.ID}, {"reason", &r.Reason}} {
		text, ok := textOf(optional(f.name))
		if *f.into = text; !ok {
			r.odd = append(r.odd, event.SetAside(f.name, "is neither a text nor a number"))
		}
	}
	r.At = optional("at")
	r.signals = signals{optional("machine"), optional("prefetch"), optional("user_agent")}
	return r, nil
}

// valid is a text with question marks for bytes that are no UTF-8: mail servers write what they like into their reasons.
func valid(text []byte) []byte {
	if text == nil {
		return nil
	}
	return bytes.ToValidUTF8(text, []byte("?"))
}

// signals tell whether a machine did it. They are judged and not kept.
type signals struct{ Machine, Prefetch, UserAgent any }

// signalNames are the properties of an outcome that are judged and not kept. An address of the network is not even judged.
func signalNames() []string { return []string{"machine", "prefetch", "user_agent", "ip"} }

// signalsIn reads signals from the properties of a track call.
func signalsIn(list []*eventv1.Property) event.Signals {
	read := func(name string) any { return event.ToAny(event.Property(list, name)) }
	return signals{Machine: read("machine"), Prefetch: read("prefetch"), UserAgent: read("user_agent")}.read()
}

func (s signals) read() event.Signals {
	agent, _ := textOf(s.UserAgent)
	return event.Signals{Machine: flagOf(s.Machine), Prefetch: flagOf(s.Prefetch), UserAgent: agent}
}

// flagOf reads a flag; nil if it is none.
func flagOf(v any) *bool {
	if b, ok := v.(bool); ok {
		return &b
	}
	if b, err := strconv.ParseBool(fmt.Sprint(v)); err == nil {
		return &b
	}
	return nil
}

// receipts serves POST /v1/receipts/{channel}. The token is the credential: it names tenant, delivery and
// customer, and is signed.
func (h *httpEntrances) receipts(w http.ResponseWriter, r *http.Request) {
	visit, body := h.read(w, r, viaReceipt, maxEvent)
	if visit == nil {
		return
	}
	defer visit.Leave()
	in, err := readReceipt(body)
	if err != nil {
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
	it := receiptItem(in)
	h.store(w, r, submission{tenant: token.GetTenant(), via: viaReceipt, items: []*item{it}, visit: visit})
}

// receiptItem reads a receipt. What it does not know of one, such as an address of the network, goes nowhere, not even into
// a dead letter.
func receiptItem(in providerReceipt) *item {
	verdict := in.signals.read().Verdict()
	raw, err := json.Marshal(in)
	it := &item{raw: raw, remarks: in.odd}
	if err != nil {
		it.problem("", err.Error())
		return it
	}
	kind := event.ReceiptKindOf(in.Kind)
	if kind == eventv1.OutcomeKind_OUTCOME_KIND_UNSPECIFIED {
		it.problem("kind", "is not one of "+strings.Join(event.Outcomes(), ", "))
		return it
	}
	it.event = &eventv1.Event{
		Id: derived("receipt", in.Token, in.Kind, in.ID), Type: in.Kind, Kind: eventv1.Kind_KIND_OUTCOME,
		Context: &eventv1.Context{Via: viaReceipt},
		Outcome: &eventv1.Outcome{Kind: kind, Token: in.Token, Reason: in.Reason, Machine: verdict},
	}
	it.happened = []stated{{"at", in.At}}
	return it
}
