package meshsvc

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/embed/embedtest"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/state"
	"refrain.dev/services/ingest/ingestsvc"
)

// replica runs a second ingest on the mesh's log and returns its address.
func (r *running) replica() string {
	r.t.Helper()
	server, err := rpc.NewServer(rpc.ServerConfig{})
	if err != nil {
		r.t.Fatal(err)
	}
	deps := r.named("ingest-2")
	heard := make(chan net.Addr, 1)
	deps.GRPC, deps.Ready, deps.Replica = server, func(string, bool) {}, "ingest-2"
	deps.Listening = func(_ string, at net.Addr) { heard <- at }
	second, err := ingestsvc.New(r.t.Context(), r.cfg.Ingest, deps)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- second.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("the second ingest ended: %v", err)
		}
	})
	select {
	case at := <-heard:
		return "http://" + at.String()
	case <-time.After(patience):
		r.t.Fatal("the second ingest does not listen")
		return ""
	}
}

// slowly puts a delay before every answer of a server on a socket, as a slow network would, and returns where.
func slowly(t *testing.T, to string, delay time.Duration) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { pipe(in, to, delay) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); open.Wait() })
	return l.Addr().String()
}

// pipe copies between two connections; what comes back waits.
func pipe(in net.Conn, to string, delay time.Duration) {
	defer in.Close()                 //nolint:errcheck // the other end has what it gets
	out, err := net.Dial("unix", to) //nolint:noctx // as long as the connection
	if err != nil {
		return
	}
	defer out.Close() //nolint:errcheck // likewise
	var back sync.WaitGroup
	back.Go(func() {
		defer in.Close() //nolint:errcheck // likewise
		buf := make([]byte, 64<<10)
		for {
			n, err := out.Read(buf)
			if n > 0 {
				<-time.After(delay)
				if _, err := in.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	_, _ = io.Copy(out, in)
	_ = out.Close()
	back.Wait()
}

// "A test sends anonymous → identify → track through two ingest replicas with Redis delayed: the known
// profile has identify and all after it, both identifiers resolve to it, an anonymous event that raced the
// link stays with the anonymous past." The anonymous profile is closed: its enrollments exit and its
// proposals are withdrawn with IDENTITY_LINKED.
func TestLinkingThroughTwoReplicasWithRedisDelayed(t *testing.T) {
	redis := slowly(t, embedtest.Redis(t), 15*time.Millisecond)
	r := start(t, words{"COLLECT": "PT1H"}, func(c *Config) { c.Redis = redis })
	doors := []string{r.url, r.replica()}
	for n, who := range []string{"ann", "bob", "cyd"} {
		device, a, b := "device-"+who, doors[n%2], doors[(n+1)%2]
		call(t, a, "track", object{"anonymousId": device, "messageId": "past-" + who, "event": "cart_started", "properties": object{"item": "hat"}})
		r.waitFor(anonymous(device), "proposal_made", 1)
		past := r.profile(anonymous(device))
		send := []func(){
			func() {
				call(t, b, "identify", object{"userId": who, "anonymousId": device, "messageId": "identify-" + who, "traits": object{"name": who}})
			},
			func() {
				call(t, a, "track", object{"anonymousId": device, "messageId": "race-" + who, "event": "order_placed"})
			},
		}
		var racing sync.WaitGroup
		for _, s := range send {
			racing.Go(s)
		}
		racing.Wait()
		call(t, a, "track", object{"userId": who, "anonymousId": device, "messageId": "known-1-" + who, "event": "order_placed"})
		call(t, b, "track", object{"userId": who, "messageId": "known-2-" + who, "event": "order_placed"})
		r.checkLinked(who, device, past)
		call(t, b, "track", object{"anonymousId": device, "messageId": "later-" + who, "event": "order_placed"})
		r.eventually("the device speaks for "+who, func() bool { return slices.Contains(r.applied(who), "later-"+who) })
	}
}

// applied lists the events on a known customer's timeline.
func (r *running) applied(who string) []string {
	r.t.Helper()
	var ids []string
	for _, e := range happened(r.timeline(user(who)), "event_applied") {
		ids = append(ids, e.GetId())
	}
	return ids
}

// checkLinked waits until a device and its user are one and looks at what became of the device's past.
func (r *running) checkLinked(who, device string, past *profilev1.Profile) {
	r.t.Helper()
	var known *profilev1.Profile
	r.eventually("both identifiers of "+who+" resolve to the known profile", func() bool {
		known = r.profile(user(who))
		other := r.profile(anonymous(device))
		return known != nil && other != nil && slices.Equal(known.GetId(), other.GetId()) && len(known.GetLinked()) == 1
	})
	if slices.Equal(known.GetId(), past.GetId()) || !slices.Equal(known.GetLinked()[0].GetProfileId(), past.GetId()) {
		r.t.Fatalf("%s: the known profile is %x and linked %v, the past %x", who, known.GetId(), known.GetLinked(), past.GetId())
	}
	r.eventually("events after identify are on the known profile", func() bool {
		ids := r.applied(who)
		return slices.Contains(ids, "identify-"+who) && slices.Contains(ids, "known-1-"+who) && slices.Contains(ids, "known-2-"+who)
	})
	if ids := r.applied(who); slices.Contains(ids, "past-"+who) {
		r.t.Errorf("%s: the anonymous past moved: %q", who, ids)
	}
	r.checkPast(who, past)
}

// checkPast looks at the closed profile through the log of decisions: its proposals end, with the reason.
func (r *running) checkPast(who string, past *profilev1.Profile) {
	r.t.Helper()
	var lines []*profilev1.TimelineEntry
	r.eventually("the proposals of the past of "+who+" are withdrawn", func() bool {
		lines = r.stored(past)
		return len(happened(lines, "proposal_withdrawn")) > 0
	})
	for _, e := range happened(lines, "proposal_withdrawn") {
		if !slices.Contains(codesOf(e.GetReasons()), reasonv1.Code_CODE_IDENTITY_LINKED) {
			r.t.Errorf("%s: withdrawn with %v", who, e.GetReasons())
		}
	}
	if len(happened(lines, "identity_linked")) != 1 || len(happened(lines, "delivery_queued")) > 0 {
		r.t.Errorf("%s: the past is\n%s", who, story(lines))
	}
	raced := slices.ContainsFunc(happened(lines, "event_applied"), func(e *profilev1.TimelineEntry) bool { return e.GetId() == "race-"+who })
	if raced == slices.Contains(r.applied(who), "race-"+who) {
		r.t.Errorf("%s: the event that raced is with the past: %v; it must be in one place\n%s", who, raced, story(lines))
	}
}

// stored reads the timeline of a profile by its id: a closed one has no identifier any more.
func (r *running) stored(p *profilev1.Profile) []*profilev1.TimelineEntry {
	r.t.Helper()
	hasher := identity.NewHasher(r.Generation().Secret, r.Generation().Partitions)
	q := state.Query{}
	for _, s := range log.Stages() {
		q.Lists = append(q.Lists, state.List{Stage: s.Name, Name: identity.CustomerKey(p.GetTenant(), p.GetId()) + "/timeline", Newest: 200})
	}
	view, err := r.Store().Read(r.t.Context(), hasher.Partition(p.GetId()), q)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []*profilev1.TimelineEntry
	for _, raw := range slices.Concat(view.Lists...) {
		e := &profilev1.TimelineEntry{}
		if err := e.UnmarshalVT(raw); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}
