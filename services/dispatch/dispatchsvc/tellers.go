package dispatchsvc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/profile"
)

// maxTellers is at how many places words for one customer are looked for, those of closed profiles included.
// Whoever has more is not contacted.
const maxTellers = 1024

var errTellers = fmt.Errorf("the customer has more than %d identifiers", maxTellers)

// search looks for words that are on their way to one profile.
type search struct {
	*freshness

	asOf   time.Duration
	seen   map[string]bool // tellers by the profile that they tell
	errs   []error
	tenant string
}

// elsewhere looks at all places from which a word about permission may be on its way to p. It returns as of when
// everything that was acknowledged there has come; an error says that something has not, or is not known to.
func (f *freshness) elsewhere(ctx context.Context, p *profilev1.Profile) (asOf time.Duration, err error) {
	s := &search{freshness: f, asOf: math.MaxInt64, seen: map[string]bool{}, tenant: p.GetTenant()}
	for level := []*profilev1.Profile{p}; len(level) > 0; {
		var next []*profilev1.Profile
		for _, told := range level {
			through, err := s.ask(ctx, told)
			if err != nil {
				return 0, err
			}
			next = append(next, through...)
		}
		level = next
	}
	return s.asOf, errors.Join(s.errs...)
}

// ask looks at the tellers of one profile, partition by partition, and returns the profiles through which words
// come to it from elsewhere.
func (s *search) ask(ctx context.Context, told *profilev1.Profile) (through []*profilev1.Profile, err error) {
	homes := map[int][]profile.Teller{}
	for _, t := range profile.Tellers(s.hasher, told) {
		if key := string(told.GetId()) + string(t.ID); !s.seen[key] {
			s.seen[key] = true
			home := s.hasher.Partition(t.ID)
			homes[home] = append(homes[home], t)
		}
	}
	if len(s.seen) > maxTellers {
		return nil, errTellers
	}
	for _, home := range slices.Sorted(maps.Keys(homes)) {
		if err := s.fill(ctx, home, homes[home]); err != nil {
			return nil, err
		}
		for _, t := range homes[home] {
			if t.Pending(told) {
				s.errs = append(s.errs, errPending)
			}
			if t.Leads(told) {
				through = append(through, t.Profile)
			}
		}
	}
	return through, nil
}

// fill reads what is at tellers that live in one partition.
func (s *search) fill(ctx context.Context, home int, tellers []profile.Teller) error {
	var keys []string
	for _, t := range tellers {
		keys = append(keys, identity.IdentifierKey(s.tenant, t.ID), identity.CustomerKey(s.tenant, t.ID))
	}
	rows, asOf, stale := s.read(ctx, home, keys...)
	if rows == nil {
		return stale
	}
	if stale != nil {
		s.errs = append(s.errs, stale)
	}
	s.asOf = min(s.asOf, asOf)
	for n := range tellers {
		if raw := rows[2*n]; raw != nil {
			tellers[n].Row = &profilev1.IdentifierRow{}
			if err := tellers[n].Row.UnmarshalVT(raw); err != nil {
				return fmt.Errorf("decode identifier row: %w", err)
			}
		}
		p, err := decodeProfile(rows[2*n+1])
		if err != nil {
			return err
		}
		tellers[n].Profile = p
	}
	return nil
}
