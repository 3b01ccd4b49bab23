package dispatchsvc

import (
	"context"
	"errors"
	"fmt"
	"time"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

const (
	// maxStale is how old the view may be that a send rests on.
	maxStale = 5 * time.Second
	// freshWithin is how long a send waits for a fresh view.
	freshWithin = 4 * time.Second
	profileName = "profile"
)

// errStale says that no fresh view of the profile could be had.
var errStale = errors.New("the view of the profile is stale")

// freshness reads profiles and knows how old what it reads is: what is read is as of the begin of the newest
// ping that the profile stage has covered. Neither clocks of other machines nor the age of the row matter.
type freshness struct {
	reader Reader
	pings  *pings
	clock  clock.Clock
	// released says that inputs are released instant by instant (the replay clock): then the rows of an
	// instant are complete before anything is sent in it, and what arrived for later instants must not count.
	released func() bool
}

func newFreshness(reader Reader, p *pings, c clock.Clock) *freshness {
	return &freshness{reader: reader, pings: p, clock: c, released: func() bool { return false }}
}

// view is a profile as it was read.
type view struct {
	// profile is nil if there is none.
	profile *profilev1.Profile
	// asOf is when everything acknowledged by then was in it, by Elapsed.
	asOf time.Duration
}

// young says whether a send may still begin on a view.
func (f *freshness) young(v view) bool {
	return f.released() || f.clock.Elapsed()-v.asOf <= maxStale
}

// profile reads the profile in a row, not older than maxStale. errStale is wrapped with why no fresh view
// could be had in time.
func (f *freshness) profile(ctx context.Context, partition int, key string) (view, error) {
	ctx, cancel := f.clock.Within(ctx, freshWithin)
	defer cancel()
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		v, fresh, err := f.look(ctx, partition, key)
		if fresh {
			return v, err
		}
		if clock.Sleep(ctx, f.clock, wait) != nil {
			return view{}, errors.Join(errStale, err)
		}
	}
}

// look pings, if it is time to, and reads once. What a failed ping was for, an earlier one may still prove.
func (f *freshness) look(ctx context.Context, partition int, key string) (v view, fresh bool, err error) {
	lane := f.pings.of(partition)
	var pinged error
	if !f.released() {
		if !lane.known() {
			if _, _, err := f.read(ctx, partition, key); err != nil {
				return view{}, false, err
			}
		}
		pinged = f.pings.ping(ctx, partition)
	}
	row, meta, err := f.read(ctx, partition, key)
	if err != nil || meta.Applied == 0 {
		return view{}, false, errors.Join(pinged, err)
	}
	covered := f.released()
	if !covered {
		v.asOf, covered = lane.covered(meta.Origins[log.Barrier])
	}
	if !covered || !f.young(v) {
		return view{}, false, pinged
	}
	v.profile, err = decodeProfile(row)
	return v, true, err
}

func (f *freshness) read(ctx context.Context, partition int, key string) (row []byte, meta state.Meta, err error) {
	seen, err := f.reader.Read(ctx, partition, state.Query{
		Metas: []string{profileName}, Rows: []state.Row{{Stage: profileName, Key: key}},
	})
	if err != nil {
		return nil, state.Meta{}, fmt.Errorf("read profile: %w", err)
	}
	meta = seen.Metas[profileName]
	f.pings.of(partition).note(meta.Origins[log.Barrier])
	return seen.Rows[0], meta, nil
}

func decodeProfile(row []byte) (*profilev1.Profile, error) {
	if row == nil {
		return nil, nil
	}
	p := &profilev1.Profile{}
	if err := p.UnmarshalVT(row); err != nil {
		return nil, fmt.Errorf("decode profile: %w", err)
	}
	return p, nil
}
