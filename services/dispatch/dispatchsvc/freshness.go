package dispatchsvc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/identity"
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

var (
	// errStale says that no fresh view of the profile could be had.
	errStale = errors.New("the view of the profile is stale")
	// errBehind says that a profile stage has not covered a young ping.
	errBehind = errors.New("the profile stage is behind")
	// errPending says that something about permission is on its way to the profile.
	errPending = errors.New("a word about permission is on its way")
)

// freshness reads profiles and knows how old what it reads is: what is read is as of the begin of the newest
// ping that the profile stage has covered. Neither clocks of other machines nor the age of the row matter.
//
// A word about permission that came under another identifier of the customer is on its way to the profile, from
// the partition in which that identifier lives. So these partitions are pinged and read too, and a view is fresh
// only if nothing that they have passed on is missing in it (profile.Teller).
type freshness struct {
	reader Reader
	pings  *pings
	hasher identity.Hasher
	clock  clock.Clock
	// released says that inputs are released instant by instant (the replay clock): then the rows of an
	// instant are complete before anything is sent in it, and what arrived for later instants must not count.
	released func() bool
}

func newFreshness(reader Reader, p *pings, h identity.Hasher, c clock.Clock) *freshness {
	return &freshness{reader: reader, pings: p, hasher: h, clock: c, released: func() bool { return false }}
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

// now is the time of day, if it is the log's.
func (f *freshness) now() (time.Time, error) {
	if f.released() {
		return f.clock.Now(), nil
	}
	return f.pings.reference.Now() //nolint:wrapcheck // says it all
}

// after says whether everything that was acknowledged at a time, by Elapsed, is in a view.
func (f *freshness) after(v view, since time.Duration) bool {
	return f.released() || v.asOf >= since
}

// anyAge is before every view: a fresh one will do.
const anyAge = time.Duration(math.MinInt64)

// profile reads the profile in a row, not older than maxStale nor than since. errStale is wrapped with why no
// such view could be had in time.
func (f *freshness) profile(ctx context.Context, partition int, key string, since time.Duration) (view, error) {
	ctx, cancel := f.clock.Within(ctx, freshWithin)
	defer cancel()
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		v, fresh, err := f.look(ctx, partition, key)
		if fresh && f.after(v, since) {
			return v, err
		}
		if clock.Sleep(ctx, f.clock, wait) != nil {
			return view{}, errors.Join(errStale, err)
		}
	}
}

// look pings, where it is time to, and reads once. An error that comes with a fresh view is about the row.
func (f *freshness) look(ctx context.Context, partition int, key string) (v view, fresh bool, err error) {
	rows, asOf, stale := f.read(ctx, partition, key)
	if rows == nil {
		return view{}, false, stale
	}
	p, err := decodeProfile(rows[0])
	if err != nil {
		return view{}, stale == nil, err
	}
	v = view{profile: p, asOf: asOf}
	if f.released() || len(p.GetLinkedTo()) > 0 { // a closed profile is not contacted whatever is said
		return v, stale == nil, stale
	}
	// What is passed on elsewhere is looked at even before our own partition is fresh: its pings go out now.
	elsewhere, err := f.elsewhere(ctx, p)
	if stale != nil || err != nil {
		return view{}, false, errors.Join(stale, err)
	}
	v.asOf = min(v.asOf, elsewhere)
	return v, f.young(v), nil
}

// read pings a partition and reads rows of its profile stage, of the newest ping that is covered. The error says
// why they are not fresh; what a failed ping was for, an earlier one may still prove.
func (f *freshness) read(ctx context.Context, partition int, keys ...string) (rows [][]byte, asOf time.Duration, err error) {
	lane := f.pings.of(partition)
	var pinged error
	if !f.released() {
		if !lane.known() {
			if _, _, err := f.rows(ctx, partition, keys); err != nil {
				return nil, 0, err
			}
		}
		pinged = f.pings.ping(ctx, partition)
	}
	rows, meta, err := f.rows(ctx, partition, keys)
	switch {
	case err != nil:
		return nil, 0, errors.Join(pinged, err)
	case meta.Applied == 0:
		return nil, 0, fmt.Errorf("%w: it has written nothing in partition %d", errBehind, partition)
	case f.released():
		return rows, 0, nil
	}
	asOf, covered := lane.covered(meta.Origins[log.Barrier])
	if !covered || !f.young(view{asOf: asOf}) {
		return rows, 0, errors.Join(pinged, fmt.Errorf("%w in partition %d", errBehind, partition))
	}
	return rows, asOf, nil
}

func (f *freshness) rows(ctx context.Context, partition int, keys []string) ([][]byte, state.Meta, error) {
	q := state.Query{Metas: []string{profileName}}
	for _, key := range keys {
		q.Rows = append(q.Rows, state.Row{Stage: profileName, Key: key})
	}
	seen, err := f.reader.Read(ctx, partition, q)
	if err != nil {
		return nil, state.Meta{}, fmt.Errorf("read profile: %w", err)
	}
	meta := seen.Metas[profileName]
	f.pings.of(partition).note(meta.Origins[log.Barrier])
	return seen.Rows, meta, nil
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
