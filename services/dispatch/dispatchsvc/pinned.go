package dispatchsvc

import (
	"fmt"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"

	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/identity"
)

// pinned lists the revisions of a customer's calls whose outcome is not known: the provider that was called is the one
// to ask.
func pinned(key string, value []byte) ([]string, error) {
	if _, space, _, err := identity.ParseKey(key); err != nil || space != "c" {
		return nil, nil //nolint:nilerr // the row of no customer
	}
	s := &dispatchv1.State{}
	if err := s.UnmarshalVT(value); err != nil {
		return nil, fmt.Errorf("decode deliveries of %s: %w", key, err)
	}
	var out []string
	for _, d := range s.GetDeliveries() {
		if d.GetRevision() != "" && !delivery.Closed(d.GetStatus()) {
			out = append(out, d.GetRevision())
		}
	}
	return out, nil
}
