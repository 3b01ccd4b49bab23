package decisionsvc

import (
	"fmt"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"

	"refrain.dev/pkg/identity"
)

// pinned lists the revisions that a customer's running enrollments were entered under: a journey goes on with the
// content that it began with.
func pinned(key string, value []byte) ([]string, error) {
	if _, space, _, err := identity.ParseKey(key); err != nil || space != "c" {
		return nil, nil //nolint:nilerr // the row of no customer
	}
	s := &decisionv1.State{}
	if err := s.UnmarshalVT(value); err != nil {
		return nil, fmt.Errorf("decode decision state %s: %w", key, err)
	}
	var out []string
	for _, e := range s.GetEnrollments() {
		out = append(out, e.GetRevision())
	}
	return out, nil
}
