package dispatchsvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/state"
	"refrain.dev/services/dispatch/dispatchsvc/channel"
)

// scripted is an adapter that does what a test says.
type scripted struct {
	send  func() delivery.Result
	calls atomic.Int32
	most  atomic.Int32
	under atomic.Int32
}

func (s *scripted) Send(context.Context, channel.Message) delivery.Result {
	s.calls.Add(1)
	n := s.under.Add(1)
	defer s.under.Add(-1)
	for m := s.most.Load(); n > m && !s.most.CompareAndSwap(m, n); m = s.most.Load() {
	}
	return s.send()
}

func (s *scripted) Close() error { return nil }

// profileView is a store whose profile stage covers the control lane up to a position.
type profileView struct {
	mu      sync.Mutex
	applied uint64
	covered uint64
	err     error
	// row is the profile as of a position; nil for one that is always there.
	row func(covered uint64) *profilev1.Profile
}

func (v *profileView) Read(_ context.Context, _ int, q state.Query) (state.View, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := &profilev1.Profile{Id: customer(), Version: v.covered}
	if v.row != nil {
		p = v.row(v.covered)
	}
	var row []byte
	if p != nil {
		var err error
		if row, err = p.MarshalVT(); err != nil {
			return state.View{}, err
		}
	}
	return state.View{
		Metas: map[string]state.Meta{profileName: {Applied: v.applied, Origins: map[string]uint64{log.Barrier: v.covered}}},
		Rows:  [][]byte{row},
	}, v.err
}

// lane counts pings and hands them to see.
type lane struct {
	count atomic.Uint64
	see   func(sequence uint64)
	skew  time.Duration // of the broker's clock
	slow  time.Duration // how long the broker takes to answer
	err   error
	now   func() time.Time

	stored time.Time
}

func (l *lane) Get(_ context.Context, subject string, sequence uint64) (log.Message, error) {
	return log.Message{Subject: subject, Sequence: sequence, Time: l.stored.Add(l.skew)}, nil
}

func (l *lane) Publish(_ context.Context, subject string, _ []byte) (uint64, error) {
	if subject != "evt.control.3" {
		return 0, errors.New("not the control lane of the partition")
	}
	if l.err != nil {
		return 0, l.err
	}
	l.stored = time.Now()
	if l.now != nil {
		l.stored = l.now()
	}
	wait(l.slow)
	n := l.count.Add(1)
	l.see(n)
	return n, nil
}

// room is a log with its usage.
type room struct{ usage log.Usage }

func (r room) Usage(context.Context, string) (log.Usage, error) { return r.usage, nil }

type noSigner struct{}

func (noSigner) Sign(*decisionv1.Token) (string, error) { return "tok", nil }

// testEngine has one channel with a scripted adapter and a profile stage that follows at once.
func testEngine(t *testing.T, adapter *scripted, def *definitionv1.Channel) *engine {
	t.Helper()
	m, err := newMetrics(metricnoop.NewMeterProvider())
	if err != nil {
		t.Fatal(err)
	}
	view := &profileView{applied: 1}
	pings := &lane{see: func(n uint64) { view.mu.Lock(); defer view.mu.Unlock(); view.covered = n }}
	e := &engine{
		catalogs: fixedCatalogs{Definitions{
			Channels:  map[string]*definitionv1.Channel{"email": def},
			Templates: func(string, string) *decide.Templates { return &decide.Templates{} },
			LastCheck: func(*profilev1.Profile, LastContact) []*reasonv1.Reason { return nil },
			Address:   func(*profilev1.Profile, *decisionv1.TreatmentRef) string { return "ada@shop.example" },
			Traits:    func(*profilev1.Profile) []*profilev1.Trait { return nil },
		}},
		providers: newProviders(channel.Options{DataDir: t.TempDir()}, clock.Wall{}, nil), freshness: freshnessOf(view, pings),
		space: newSpace(room{}, clock.Wall{}), pacing: t.Context(),
		workers: clock.NewGroup(clock.Wall{}, helpers), lookers: clock.NewGroup(clock.Wall{}, helpers), signer: noSigner{}, clock: clock.Wall{}, stepped: func() bool { return false },
		logger: slog.New(slog.DiscardHandler), tracer: tracenoop.NewTracerProvider().Tracer(""), metrics: m,
	}
	p, err := e.providers.get(defaultTenant, "email", def)
	if err != nil {
		t.Fatal(err)
	}
	p.adapter = adapter
	return e
}

// called makes a call and waits for its result.
func called(ctx context.Context, e *engine, request any) any {
	done := make(chan any, 1)
	e.Call(ctx, 3, stage.Call{Request: request}, func(r any) { done <- r })
	return <-done
}

func paceOne(e *engine, j job) paceResult {
	return called(context.Background(), e, paceRequest{j}).(paceResult) //nolint:forcetypeassert // it is not cut off
}

func sendOne(e *engine, j job) delivery.Result {
	return called(context.Background(), e, sendRequest{j}).(sendResult).result //nolint:forcetypeassert // the engine's own
}

func freshnessOf(reader Reader, pinger log.Pinger) *freshness {
	return newFreshness(reader, newPings(pinger, clock.Wall{}, slog.New(slog.DiscardHandler)), testHasher(8), clock.Wall{})
}

func testJob(proposal string) job {
	return job{
		tenant: "default", customer: customer(), key: key(), proposal: &decisionv1.Proposal{Id: proposal, Action: "welcome"},
		treatment: &decisionv1.TreatmentRef{Id: "mail", Channel: "email"}, notAfter: time.Now().Add(time.Hour), intentAt: time.Now(),
	}
}

func fileChannel() *definitionv1.Channel {
	return &definitionv1.Channel{Adapter: "file", Concurrency: 4, Timeout: "PT2S", Config: map[string]string{"path": "x"}}
}

func acceptAll() *scripted {
	return &scripted{send: func() delivery.Result { return delivery.Result{Status: dispatchv1.Status_STATUS_ACCEPTED} }}
}

// Under the replay clock all pacing of an instant is over before the first INTENT is recorded.
func TestRoundsOfCallsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapter := acceptAll()
		adapter.send = func() delivery.Result {
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // in a bubble, where time is simulated
			return delivery.Result{Status: dispatchv1.Status_STATUS_ACCEPTED}
		}
		e := testEngine(t, adapter, fileChannel())
		e.stepped = func() bool { return true }
		e.freshness.released = e.stepped
		began := time.Now()
		round := func(request func(job) any, ok func(any) bool) {
			var wg sync.WaitGroup
			for i := range 100 {
				wg.Go(func() {
					if got := called(t.Context(), e, request(testJob(fmt.Sprint(i)))); !ok(got) {
						t.Errorf("call %d: %+v", i, got)
					}
				})
			}
			wg.Wait()
		}
		round(func(j job) any { return paceRequest{j} }, func(r any) bool { return r.(paceResult).failure == nil })
		round(func(j job) any { return sendRequest{j} }, func(r any) bool {
			return r.(sendResult).result.Status == dispatchv1.Status_STATUS_ACCEPTED
		})
		if took := time.Since(began); took > time.Second {
			t.Errorf("100 calls of 10 ms, 4 at once, took %v", took)
		}
		if adapter.most.Load() > 4 || adapter.calls.Load() != 100 {
			t.Errorf("%d calls, %d at once; want 100 and at most 4", adapter.calls.Load(), adapter.most.Load())
		}
	})
}

func TestPacingFollowsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		def := fileChannel()
		def.Rate, def.Concurrency = 2, 100
		e := testEngine(t, acceptAll(), def)
		began := time.Now()
		for i := range 10 {
			if r := paceOne(e, testJob(fmt.Sprint(i))); r.failure != nil {
				t.Fatalf("pace: %+v", r.failure)
			}
		}
		if took := time.Since(began); took < 4*time.Second-time.Millisecond || took > 5*time.Second {
			t.Errorf("10 at 2 per second after a burst of 2 took %v, want 4 s", took)
		}
		j := testJob("late")
		j.notAfter = time.Now().Add(100 * time.Millisecond)
		if r := paceOne(e, j); r.failure == nil || !r.failure.Transient {
			t.Errorf("an approval that ends before its turn: %+v", r)
		}
	})
}

// Its deliveries wait, without an INTENT and without a word, until it is tried out again.
func TestAFailingProviderIsLeftAlone(t *testing.T) {
	synctest.Test(t, testAFailingProviderIsLeftAlone)
}

func testAFailingProviderIsLeftAlone(t *testing.T) {
	adapter := &scripted{send: func() delivery.Result { return delivery.Result{Status: dispatchv1.Status_STATUS_UNKNOWN} }}
	e := testEngine(t, adapter, fileChannel())
	for i := range breakerFailures {
		if r := sendOne(e, testJob(fmt.Sprint(i))); r.Status != dispatchv1.Status_STATUS_UNKNOWN {
			t.Fatalf("send: %+v", r)
		}
	}
	if s := sendOne(e, testJob("next")); s.Status != dispatchv1.Status_STATUS_UNSENT || !s.Transient {
		t.Errorf("sending with an open breaker: %+v", s)
	}
	e.stepped = func() bool { return true }
	if r := paceOne(e, testJob("now")); r.failure == nil || !r.failure.Transient || r.failure.RetryAfter <= 0 {
		t.Errorf("pacing with an open breaker in a round of calls: %+v, want to be told to wait", r)
	}
	e.stepped = func() bool { return false }
	began := time.Now()
	if r := paceOne(e, testJob("next")); r.failure != nil || time.Since(began) != breakerDelay {
		t.Errorf("pacing with an open breaker: %+v after %s, want room after %s", r, time.Since(began), breakerDelay)
	}
	if n := adapter.calls.Load(); n != breakerFailures {
		t.Errorf("calls = %d, want %d", n, breakerFailures)
	}
}

func TestWhatStopsASendBeforeTheCall(t *testing.T) {
	tests := map[string]struct {
		change    func(*engine, *job)
		code      reasonv1.Code
		transient bool
	}{
		"the approval is over": {func(_ *engine, j *job) { j.notAfter = time.Now() }, reasonv1.Code_CODE_APPROVAL_EXPIRED, false},
		"the intent is old":    {func(_ *engine, j *job) { j.intentAt = time.Now().Add(-time.Minute) }, reasonv1.Code_CODE_STALE_VIEW, true},
		"no permission": {func(e *engine, _ *job) {
			d := e.catalogs.(fixedCatalogs)
			d.definitions.LastCheck = func(*profilev1.Profile, LastContact) []*reasonv1.Reason {
				return []*reasonv1.Reason{{Code: reasonv1.Code_CODE_CONSENT_MISSING}}
			}
			e.catalogs = d
		}, reasonv1.Code_CODE_LATE_BLOCK, false},
		"the store is down": {func(e *engine, _ *job) {
			e.freshness.reader = &profileView{applied: 1, err: errors.New("down")}
		}, reasonv1.Code_CODE_STALE_VIEW, true},
		"the profile stage has written nothing": {func(e *engine, _ *job) {
			e.freshness.reader = &profileView{}
		}, reasonv1.Code_CODE_STALE_VIEW, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				adapter := acceptAll()
				e, j := testEngine(t, adapter, fileChannel()), testJob("p")
				tt.change(e, &j)
				r := sendOne(e, j)
				if r.Status != dispatchv1.Status_STATUS_UNSENT || r.Transient != tt.transient || r.Reasons[0].GetCode() != tt.code {
					t.Errorf("result = %+v, want %v transient=%v", r, tt.code, tt.transient)
				}
				if adapter.calls.Load() != 0 {
					t.Error("the provider was called")
				}
			})
		})
	}
}

// A view that is fresh may be older than the approval: the store follows the log. What is missing in it is on its
// way, and is waited for; nothing that it lacks ends a delivery.
func TestWhatIsMissingInAViewFromBeforeIsNotYet(t *testing.T) {
	known := &profilev1.Profile{Id: customer(), Version: 3}
	for name, old := range map[string]*profilev1.Profile{"the profile": nil, "an address in it": {Id: customer(), Version: 2}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				adapter, def := acceptAll(), fileChannel()
				def.Endpoint = "email"
				e := testEngine(t, adapter, def)
				d := e.catalogs.(fixedCatalogs)
				d.definitions.Address = func(p *profilev1.Profile, _ *decisionv1.TreatmentRef) string {
					if p.GetVersion() < 3 {
						return ""
					}
					return "ada@shop.example"
				}
				e.catalogs = d
				view := e.freshness.reader.(*profileView)
				view.row = func(covered uint64) *profilev1.Profile {
					if covered < 2 {
						return old
					}
					return known
				}
				if _, err := e.freshness.profile(t.Context(), 3, key(), anyAge); err != nil { // the first ping is covered
					t.Fatal(err)
				}
				wait(100 * time.Millisecond)
				if r := sendOne(e, testJob("p")); r.Status != dispatchv1.Status_STATUS_ACCEPTED || r.ProfileVersion != 3 {
					t.Errorf("result = %+v, want it sent on the profile that comes", r)
				}
			})
		})
	}
}

// A profile that does not come keeps the delivery waiting, for as long as the approval lasts.
func TestAMissingProfileIsNeverFinal(t *testing.T) {
	for name, released := range map[string]bool{"on the wall clock": false, "on the replay clock": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := testEngine(t, acceptAll(), fileChannel())
				e.freshness.released = func() bool { return released }
				e.freshness.reader.(*profileView).row = func(uint64) *profilev1.Profile { return nil }
				r := sendOne(e, testJob("p"))
				if r.Status != dispatchv1.Status_STATUS_UNSENT || !r.Transient || r.Reasons[1].GetCode() != reasonv1.Code_CODE_PROFILE_UNAVAILABLE {
					t.Errorf("result = %+v, want it to be tried again", r)
				}
			})
		})
	}
}

// A panic ends the attempt, not the process. Whether it was before the call or in it decides what it proves.
func TestAPanicEndsTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapter := &scripted{send: func() delivery.Result { panic("an adapter's bug") }}
		e := testEngine(t, adapter, fileChannel())
		if r := sendOne(e, testJob("p")); r.Status != dispatchv1.Status_STATUS_UNKNOWN {
			t.Errorf("in the call: %+v, want that nobody knows", r)
		}
		d := e.catalogs.(fixedCatalogs)
		d.definitions.LastCheck = func(*profilev1.Profile, LastContact) []*reasonv1.Reason { panic("a check's bug") }
		e.catalogs = d
		if r := sendOne(e, testJob("q")); r.Status != dispatchv1.Status_STATUS_UNSENT || r.Transient {
			t.Errorf("before the call: %+v, want it unsent", r)
		}
		if n := adapter.calls.Load(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		if err := e.freshness.reader.(*profileView).err; err != nil {
			t.Fatal(err)
		}
		e.providers.others = map[string]channel.Factory{"file": func(*definitionv1.Channel, channel.Options) (channel.Adapter, error) { panic("a factory's bug") }}
		other := fileChannel()
		other.Rate = 9
		d.definitions.Channels["email"] = other
		if r := paceOne(e, testJob("r")); r.failure == nil || !r.failure.Transient {
			t.Errorf("while the adapter is made: %+v, want it to be tried again", r)
		}
	})
}

func TestAnAdapterIsBuiltOncePerContent(t *testing.T) {
	p := newProviders(channel.Options{DataDir: t.TempDir()}, clock.Wall{}, nil)
	a, errA := p.get(defaultTenant, "x", fileChannel())
	b, errB := p.get(defaultTenant, "x", fileChannel())
	other := fileChannel()
	other.Rate = 3
	c, errC := p.get(defaultTenant, "x", other)
	if err := errors.Join(errA, errB, errC); err != nil {
		t.Fatal(err)
	}
	if a != b || a == c {
		t.Errorf("equal definitions share a provider: %v, different ones: %v", a == b, a == c)
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
}

func TestNoIntentWithoutRoomForItsReport(t *testing.T) {
	synctest.Test(t, testNoIntentWithoutRoomForItsReport)
}

func testNoIntentWithoutRoomForItsReport(t *testing.T) {
	e := testEngine(t, acceptAll(), fileChannel())
	e.space = newSpace(room{log.Usage{Bytes: 96, MaxBytes: 100}}, clock.Wall{})
	j := testJob("p")
	j.notAfter = time.Now().Add(3 * time.Second)
	r := paceOne(e, j)
	if r.failure == nil || !r.failure.Transient || r.failure.Reasons[0].GetEvidence()[0] != logFull || time.Now().Before(j.notAfter) {
		t.Errorf("pace = %+v, want it to wait for room until the approval ends", r)
	}
}

func TestPacingIsCutOffByTheEnd(t *testing.T) {
	def := fileChannel()
	def.Rate = 0.001
	e := testEngine(t, acceptAll(), def)
	ending, end := context.WithCancel(t.Context())
	e.pacing = ending
	if r := paceOne(e, testJob("first")); r.failure != nil {
		t.Fatalf("pace: %+v", r.failure)
	}
	j := testJob("waits")
	j.notAfter = time.Now().Add(24 * time.Hour)
	done := make(chan any, 1)
	go func() { done <- called(t.Context(), e, paceRequest{j}) }()
	end()
	if r := <-done; r != nil {
		t.Errorf("result = %+v, want none: nothing is to be recorded", r)
	}
}

func testHasher(partitions int) identity.Hasher {
	return identity.NewHasher([]byte("a secret of the tests, 32 bytes..."), partitions)
}
