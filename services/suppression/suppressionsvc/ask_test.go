package suppressionsvc

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/state"
)

// replica is the world of an engine: its own fold, and perhaps the owner elsewhere.
type replica struct {
	contactv1.ContactServiceClient // of the owner

	t             *testing.T
	elsewhere     bool
	own, other    func(ctx context.Context, n int) error // by how often they were asked
	owned, passed int
}

func (r *replica) Do(ctx context.Context, _ int, q stage.Request) (any, error) {
	r.owned++
	if q.ID != "commit/id-1" {
		r.t.Errorf("the fold is asked by the id %q", q.ID)
	}
	if err := r.own(ctx, r.owned); err != nil {
		return nil, err
	}
	return &contactv1.CommitResponse{}, nil
}

func (r *replica) Owner(int) (contactv1.ContactServiceClient, error) {
	if !r.elsewhere {
		return nil, nil
	}
	return r, nil
}

func (r *replica) Commit(ctx context.Context, q *contactv1.CommitRequest, _ ...grpc.CallOption) (*contactv1.CommitResponse, error) {
	r.passed++
	sent, _ := metadata.FromOutgoingContext(ctx)
	if q.GetId() != "id-1" || !isPassedOn(metadata.NewIncomingContext(ctx, sent)) {
		r.t.Errorf("the owner is asked for %q, marked %v", q.GetId(), sent)
	}
	if err := r.other(ctx, r.passed); err != nil {
		return nil, err
	}
	return &contactv1.CommitResponse{}, nil
}

// Read implements Reader: everybody is known.
func (r *replica) Read(_ context.Context, _ int, q state.Query) (state.View, error) {
	raw, err := (&profilev1.Profile{}).MarshalVT()
	if err != nil || q.Rows[0].Stage != profileStage {
		r.t.Errorf("reads %v: %v", q, err)
	}
	if raw == nil {
		raw = []byte{}
	}
	return state.View{Metas: map[string]state.Meta{profileStage: {Applied: 1}}, Rows: [][]byte{raw}}, nil
}

func (r *replica) commit(ctx context.Context) error {
	e := &engine{
		catalogs: book{defs: &Definitions{}}, store: r, owner: r, peers: r, clock: clock.Wall{},
		hasher: identity.NewHasher([]byte("0123456789abcdef0123456789abcdef"), 4),
	}
	s := &server{engine: e, metrics: quietMetrics(r.t)}
	_, err := s.Commit(ctx, &contactv1.CommitRequest{Id: "id-1", Identifier: &eventv1.Identifier{Kind: "user_id", Value: "ann"}})
	return err
}

func always(err error) func(context.Context, int) error {
	return func(context.Context, int) error { return err }
}

// after fails some times before it does not.
func after(times int, err error) func(context.Context, int) error {
	return func(_ context.Context, n int) error {
		if n <= times {
			return err
		}
		return nil
	}
}

var (
	errNotOwned = fault.New(fault.Unavailable, "partition is not owned") //nolint:gochecknoglobals // of a test
	errDown     = status.Error(codes.Unavailable, "connection refused")  //nolint:gochecknoglobals // of a test
	errMissing  = status.Error(codes.NotFound, "there is no such reservation")
)

func TestARequestFindsTheOwner(t *testing.T) {
	for _, c := range []struct {
		name          string
		replica       replica
		passedOn      bool
		want          codes.Code
		owned, passed int
	}{
		{name: "here", replica: replica{own: always(nil)}, owned: 1},
		{name: "here, soon", replica: replica{own: after(3, errNotOwned)}, owned: 4},
		{name: "elsewhere", replica: replica{elsewhere: true, other: always(nil)}, passed: 1},
		{name: "elsewhere, soon", replica: replica{elsewhere: true, other: after(3, errDown)}, passed: 4},
		{name: "nowhere", replica: replica{own: always(errNotOwned)}, want: codes.Unavailable, owned: askTries},
		{name: "elsewhere, never", replica: replica{elsewhere: true, other: always(errDown)}, want: codes.Unavailable, passed: askTries},
		{name: "passed on, and not here", replica: replica{elsewhere: true, own: always(errNotOwned)}, passedOn: true, want: codes.Unavailable, owned: 1},
		{name: "passed on, and here", replica: replica{elsewhere: true, own: always(nil)}, passedOn: true, owned: 1},
		{name: "refused here", replica: replica{own: always(fault.New(fault.NotFound, "there is no such reservation"))}, want: codes.NotFound, owned: 1},
		{name: "refused elsewhere", replica: replica{elsewhere: true, other: always(errMissing)}, want: codes.NotFound, passed: 1},
		{name: "the owner is stopped", replica: replica{elsewhere: true, other: func(ctx context.Context, n int) error {
			if n == 1 {
				<-ctx.Done()
				return status.FromContextError(ctx.Err()).Err()
			}
			return nil
		}}, passed: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.replica.t = t
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if c.passedOn {
					ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(passedOnKey, "1"))
				}
				got := rpc.Status(c.replica.commit(ctx))
				if got.Code() != c.want || c.replica.owned != c.owned || c.replica.passed != c.passed {
					t.Errorf("got %v, asked here %d times, elsewhere %d; want %s, %d, %d", got, c.replica.owned, c.replica.passed, c.want, c.owned, c.passed)
				}
				if (retryAfter(got) > 0) != (c.want == codes.Unavailable) {
					t.Errorf("the answer %v says to try again after %s", got, retryAfter(got))
				}
			})
		})
	}
}

// The caller's deadline bounds everything, and is seen by the owner.
func TestTheDeadlineIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &replica{t: t, elsewhere: true, other: func(ctx context.Context, _ int) error {
			if left := time.Until(deadline(ctx)); left > 300*time.Millisecond {
				t.Errorf("the owner is given %s", left)
			}
			return errDown
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := r.commit(ctx); rpc.Status(err).Code() != codes.Unavailable || time.Since(began) != 300*time.Millisecond || r.passed < 2 {
			t.Errorf("got %v after %s and %d tries", err, time.Since(began), r.passed)
		}
	})
}

// What the owner refuses is told in its own words, and counted as what it is.
func TestARefusalPassesThrough(t *testing.T) {
	r := &replica{t: t, elsewhere: true, other: always(errMissing)}
	err := r.commit(t.Context())
	if got := rpc.Status(err).Message(); got != "there is no such reservation" || fault.Of(err) != fault.NotFound {
		t.Errorf("got %q of kind %s", got, fault.Of(err))
	}
}

func deadline(ctx context.Context) time.Time {
	at, _ := ctx.Deadline()
	return at
}

func retryAfter(s *status.Status) time.Duration {
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

func quietMetrics(t *testing.T) *metrics {
	t.Helper()
	m, err := newMetrics(noop.NewMeterProvider())
	if err != nil {
		t.Fatal(err)
	}
	return m
}
