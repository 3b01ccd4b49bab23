package identity

import (
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
)

const macSize = 16

// ErrToken says that a token is not one of ours, or not any more.
var ErrToken = errors.New("token is not valid")

// Sign encodes t and its MAC as URL-safe text.
func (h Hasher) Sign(t *decisionv1.Token) (string, error) {
	body, err := t.MarshalVT()
	if err != nil {
		return "", fmt.Errorf("encode token: %w", err)
	}
	mac := h.sum("token", string(body))[:macSize]
	return base64.RawURLEncoding.EncodeToString(append(body, mac...)), nil
}

// Verify decodes a token. It returns ErrToken, wrapped with what is wrong, if it was not signed under
// this generation's secret or has expired at now.
func (h Hasher) Verify(token string, now time.Time) (*decisionv1.Token, error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) <= macSize {
		return nil, fmt.Errorf("%w: not in the form that Refrain hands out", ErrToken)
	}
	body, mac := raw[:len(raw)-macSize], raw[len(raw)-macSize:]
	if !hmac.Equal(mac, h.sum("token", string(body))[:macSize]) {
		return nil, fmt.Errorf("%w: the signature does not match this mesh", ErrToken)
	}
	t := &decisionv1.Token{}
	if err := t.UnmarshalVT(body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if len(t.GetCustomer()) != IDSize {
		return nil, fmt.Errorf("%w: no customer in it", ErrToken)
	}
	if exp := t.GetExpiresAt(); exp != nil && now.After(exp.AsTime()) {
		return nil, fmt.Errorf("%w: it expired at %s", ErrToken, exp.AsTime().Format(time.RFC3339))
	}
	return t, nil
}
