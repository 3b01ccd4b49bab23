package channel

import (
	"encoding/json"
	"fmt"
	"time"

	"refrain.dev/pkg/event"
)

// Payload is a message as JSON: a line of a file, the data of a webhook, a message on a subject.
type Payload struct {
	Proposal    string         `json:"proposal"`
	Action      string         `json:"action"`
	Treatment   string         `json:"treatment"`
	Channel     string         `json:"channel"`
	Purpose     string         `json:"purpose,omitempty"`
	Topic       string         `json:"topic,omitempty"`
	Tenant      string         `json:"tenant"`
	Customer    string         `json:"customer"`
	Identifiers []Identifier   `json:"identifiers,omitempty"`
	To          string         `json:"to"`
	Address     string         `json:"address,omitempty"`
	Subject     string         `json:"subject,omitempty"`
	Body        string         `json:"body,omitempty"`
	At          time.Time      `json:"at"`
	Context     map[string]any `json:"context,omitempty"`
	Token       string         `json:"token,omitempty"`
	Unsubscribe string         `json:"unsubscribe_url,omitempty"`
}

func payloadOf(m Message) Payload {
	return Payload{
		Proposal: m.Proposal, Action: m.Action, Treatment: m.Treatment, Channel: m.Channel,
		Purpose: m.Purpose, Topic: m.Topic, Tenant: m.Tenant, Customer: m.Customer, Identifiers: m.Identifiers, To: m.To, Address: m.Address,
		Subject: m.Subject, Body: m.Body, At: m.At.UTC(), Context: event.ToMap(m.Context),
		Token: m.Token, Unsubscribe: m.UnsubscribeURL,
	}
}

// encode gives one line of JSON without a newline.
func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode payload: %w", err)
	}
	return data, nil
}
