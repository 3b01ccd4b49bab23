package cli_test

import (
	"bytes"
	"context"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/tools/refrain/internal/cli"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// bench is a world for commands: a log in memory, and services that tests fill in.
type bench struct {
	env   map[string]string
	site  log.Site
	dial  []grpc.DialOption
	stdin string
	// terminal says that somebody watches; now is the clock, noon if nil.
	terminal bool
	now      func() time.Time
}

type result struct {
	code        int
	out, errout string
}

func (b *bench) run(t *testing.T, args ...string) result {
	t.Helper()
	return b.runContext(t, t.Context(), args...)
}

func (b *bench) runContext(t *testing.T, ctx context.Context, args ...string) result {
	t.Helper()
	var out, errout bytes.Buffer
	code := cli.Run(ctx, args, cli.World{
		Stdin: strings.NewReader(b.stdin), Stdout: &out, Stderr: &errout,
		Getenv: func(name string) string { return b.env[name] },
		Now: func() time.Time {
			if b.now != nil {
				return b.now()
			}
			return noon
		},
		Terminal: b.terminal,
		Open: func(context.Context, string) (log.Site, func(), error) {
			return b.site, func() {}, nil
		},
		Dial: b.dial,
	})
	return result{code, out.String(), errout.String()}
}

func (r result) want(t *testing.T, code int, out, errout string) {
	t.Helper()
	if r.code != code || !strings.Contains(r.out, out) || !strings.Contains(r.errout, errout) {
		t.Errorf("got code %d, out:\n%s\nerrors:\n%s\nwant %d, %q and %q", r.code, r.out, r.errout, code, out, errout)
	}
}

// golden compares what a command prints with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path) //nolint:gosec // a test's own data
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// services answers what the tests want to see; an identifier of nobody is not found.
type services struct {
	decisionv1.UnimplementedDecisionServiceServer
	contactv1.UnimplementedContactServiceServer
	profilev1.UnimplementedProfileServiceServer
	dispatchv1.UnimplementedDispatchServiceServer
}

// internal is the internal id of a customer.
const internal = "5d6c0000000000000000000000000001"

func known(id *eventv1.Identifier) error {
	switch {
	case id.GetKind() == "user_id" && id.GetValue() == internal:
		return status.Error(codes.NotFound, "nobody has this identifier")
	case id.GetKind() == "profile" && id.GetValue() != internal:
		return status.Error(codes.InvalidArgument, "read identifier: a profile id has 32 hex digits")
	case id.GetValue() == "nobody":
		return status.Error(codes.NotFound, "nobody has this identifier")
	case id.GetValue() == "down":
		return status.Error(codes.Unavailable, "not ready")
	}
	return nil
}

func capReached() []*reasonv1.Reason {
	return []*reasonv1.Reason{{
		Code: reasonv1.Code_CODE_CAP_REACHED, Rule: "ContactPolicy/cadence.caps[0]", Revision: "r1",
		Until: timestamppb.New(noon.Add(time.Hour)), Evidence: []string{"welcome-mail Mon 09:12"},
	}}
}

func (services) NextBestActions(_ context.Context, r *decisionv1.NextBestActionsRequest) (*decisionv1.NextBestActionsResponse, error) {
	if err := known(r.GetIdentifier()); err != nil {
		return nil, err
	}
	res := &decisionv1.NextBestActionsResponse{
		Decision: "d1", Revision: "r1",
		Others: []*decisionv1.Candidate{{Action: "thanks", Treatment: "mail", Channel: "email", Reasons: capReached()}},
	}
	if r.GetPlacement() == "web" {
		res.Items = []*decisionv1.Item{{Action: "banner", Treatment: "b", Channel: "web", Rank: 1, Propensity: 1, Token: "tok"}}
	}
	return res, nil
}

func (services) Check(_ context.Context, r *contactv1.CheckRequest) (*contactv1.CheckResponse, error) {
	if r.GetContact().GetAction() == "service-mail" {
		return &contactv1.CheckResponse{Kind: contactv1.VerdictKind_VERDICT_KIND_APPROVED}, known(r.GetIdentifier())
	}
	return &contactv1.CheckResponse{Kind: contactv1.VerdictKind_VERDICT_KIND_SUPPRESSED, Reasons: capReached()}, known(r.GetIdentifier())
}

func (services) Explain(_ context.Context, r *decisionv1.ExplainRequest) (*decisionv1.ExplainResponse, error) {
	if r.GetId() == "bad" {
		return nil, status.Error(codes.InvalidArgument, "the id is not hex")
	}
	return &decisionv1.ExplainResponse{
		Revision: "r1",
		Decision: &decisionv1.DecisionMade{Id: "d1", Placement: "outbound", Candidates: []*decisionv1.Candidate{
			{Action: "sorry", Channel: "desk", Chosen: true, Rank: 1, Score: &decisionv1.Score{Total: 1.5}},
			{Action: "thanks", Channel: "email", Reasons: capReached()},
		}},
		Course: []*decisionv1.Explanation{{At: timestamppb.New(noon), Stage: "suppression", What: "contact_suppressed", Reasons: capReached(), Revision: "r1"}},
	}, nil
}

func (services) GetProfile(_ context.Context, r *profilev1.GetProfileRequest) (*profilev1.GetProfileResponse, error) {
	if err := known(r.GetIdentifier()); err != nil {
		return nil, err
	}
	at := timestamppb.New(noon)
	return &profilev1.GetProfileResponse{Partition: 3, Profile: &profilev1.Profile{
		Tenant: "default", Id: []byte{0xab, 0xcd}, Class: profilev1.Class_CLASS_CUSTOMER,
		Leaves: []*profilev1.Leaf{{
			Identities: []*profilev1.Identity{{Identifier: r.GetIdentifier(), Since: at}},
			Traits: []*profilev1.Trait{
				{Name: "country", Value: &eventv1.Value{Kind: &eventv1.Value_Text{Text: "NO\x1b[2J\nx"}}, ObservedAt: at},
				{Name: "orders", Value: &eventv1.Value{Kind: &eventv1.Value_Integer{Integer: 7}}, ObservedAt: at},
			},
			Consents: []*profilev1.ConsentRecord{{At: at, Consent: &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_GIVEN, Channel: "email", Topic: "*"}}},
			Zone:     &profilev1.Zone{Name: "Europe/Oslo", Provenance: "trait"},
		}},
	}}, nil
}

func (services) ListTimeline(_ context.Context, r *profilev1.ListTimelineRequest) (*profilev1.ListTimelineResponse, error) {
	if err := known(r.GetIdentifier()); err != nil {
		return nil, err
	}
	return &profilev1.ListTimelineResponse{Entries: []*profilev1.TimelineEntry{
		{At: timestamppb.New(noon), Stage: "profile", What: "event_applied", Subject: "order_placed", Id: "e1"},
		{At: timestamppb.New(noon), Stage: "suppression", What: "contact_suppressed", Subject: "thanks", Channel: "email", Reasons: capReached(), Id: "p1"},
	}}, nil
}

func (services) ListDeliveries(_ context.Context, r *dispatchv1.ListDeliveriesRequest) (*dispatchv1.ListDeliveriesResponse, error) {
	if err := known(r.GetIdentifier()); err != nil {
		return nil, err
	}
	return &dispatchv1.ListDeliveriesResponse{Deliveries: []*dispatchv1.Delivery{{
		Proposal: "p1", Action: "thanks", Treatment: &decisionv1.TreatmentRef{Id: "mail", Channel: "email"},
		Status: dispatchv1.Status_STATUS_ACCEPTED, At: timestamppb.New(noon),
	}}}, nil
}

func (services) ListDeadLetters(context.Context, *dispatchv1.ListDeadLettersRequest) (*dispatchv1.ListDeadLettersResponse, error) {
	return &dispatchv1.ListDeadLettersResponse{Next: 7, DeadLetters: []*dispatchv1.DeadLetterInfo{{
		Id: "x1", Stage: "ingest", Tenant: "acme", Code: "REFUSED", Why: "userId: missing", At: timestamppb.New(noon),
		Status: dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_REFUSED,
	}}}, nil
}

func (services) GetDeadLetter(_ context.Context, r *dispatchv1.GetDeadLetterRequest) (*dispatchv1.GetDeadLetterResponse, error) {
	if r.GetId() != "x1" {
		return nil, status.Error(codes.NotFound, "there is no dead letter "+r.GetId())
	}
	return &dispatchv1.GetDeadLetterResponse{DeadLetter: &dispatchv1.DeadLetterInfo{Id: "x1", Stage: "ingest", Status: dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_SENT_BACK, Payload: `{"a":1}`}}, nil
}

func (services) RedriveDeadLetter(_ context.Context, r *dispatchv1.RedriveDeadLetterRequest) (*dispatchv1.RedriveDeadLetterResponse, error) {
	switch r.GetId() {
	case "x1":
		return &dispatchv1.RedriveDeadLetterResponse{
			Subject: "redrive.profile.0", Sequence: 4, Status: dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_SENT_BACK,
		}, nil
	case "x3":
		return &dispatchv1.RedriveDeadLetterResponse{Status: dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_APPLIED}, nil
	}
	return nil, status.Error(codes.NotFound, "there is no dead letter "+r.GetId())
}

// clock is a replay clock that stands at noon.
type clock struct {
	stagev1.UnimplementedClockServiceServer
}

func (clock) GetClock(context.Context, *stagev1.GetClockRequest) (*stagev1.GetClockResponse, error) {
	return &stagev1.GetClockResponse{Mode: stagev1.ClockMode_CLOCK_MODE_REPLAY, Now: timestamppb.New(noon.Add(-24 * time.Hour)), Settled: true}, nil
}

func (clock) AdvanceClock(_ context.Context, r *stagev1.AdvanceClockRequest) (*stagev1.AdvanceClockResponse, error) {
	res := &stagev1.AdvanceClockResponse{Until: timestamppb.New(noon), Now: timestamppb.New(noon), Settled: true}
	switch r.GetBy() {
	case "P90D", "PT0S":
		return res, nil
	case "P91D":
		res.Settled, res.Open = false, []string{"dispatch, partition 3: 1 calls are under way"}
		return res, nil
	}
	return nil, status.Error(codes.InvalidArgument, "by: not an ISO 8601 duration")
}

func (clock) SwitchToWall(context.Context, *stagev1.SwitchToWallRequest) (*stagev1.SwitchToWallResponse, error) {
	return &stagev1.SwitchToWallResponse{At: timestamppb.New(noon)}, nil
}

// serve starts the services on a connection in memory.
func serve(t *testing.T, register ...func(*grpc.Server)) []grpc.DialOption {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	s := grpc.NewServer()
	for _, r := range register {
		r(s)
	}
	done := make(chan struct{})
	go func() { _ = s.Serve(l); close(done) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) })}
}

func withServices(s *grpc.Server) {
	decisionv1.RegisterDecisionServiceServer(s, services{})
	contactv1.RegisterContactServiceServer(s, services{})
	profilev1.RegisterProfileServiceServer(s, services{})
	dispatchv1.RegisterDispatchServiceServer(s, services{})
}

func withClock(s *grpc.Server) { stagev1.RegisterClockServiceServer(s, clock{}) }

const address = "passthrough:///mesh"

func TestRendering(t *testing.T) {
	b := &bench{dial: serve(t, withServices, withClock), env: map[string]string{"REFRAIN_GRPC": address}}
	for name, args := range map[string][]string{
		"decide":       {"decide", "ann", "web"},
		"decide-why":   {"decide", "ann", "outbound", "--why"},
		"explain":      {"explain", "d1", "--customer", "ann"},
		"profile":      {"profile", "email:ann@shop.example"},
		"timeline":     {"timeline", "ann"},
		"deliveries":   {"deliveries", "ann"},
		"dlq-list":     {"dlq", "list"},
		"dlq-show":     {"dlq", "show", "x1"},
		"dlq-redrive":  {"dlq", "redrive", "x1"},
		"clock-get":    {"clock", "get"},
		"clock-go":     {"clock", "advance", "P90D"},
		"clock-wall":   {"clock", "wall"},
		"profile-yaml": {"profile", "ann", "-o", "yaml"},
		"decide-json":  {"decide", "ann", "web", "-o", "json"},
	} {
		t.Run(name, func(t *testing.T) {
			r := b.run(t, args...)
			if r.code == 2 {
				t.Errorf("got code %d: %s", r.code, r.errout)
			}
			golden(t, name+".txt", r.out)
		})
	}
}

func TestExitCodes(t *testing.T) {
	b := &bench{dial: serve(t, withServices, withClock), env: map[string]string{"REFRAIN_GRPC": address}}
	for _, tc := range []struct {
		args   string
		code   int
		out    string
		errout string
	}{
		{"", 0, "Usage:", ""},
		{"--help", 0, "Exit codes:", ""},
		{"decide --help", 0, "Examples:", ""},
		{"nonsense", 2, "", `unknown command "nonsense"`},
		{"decide --nonsense", 2, "", "refrain: unknown flag: --nonsense ('refrain decide --help' says more)\n"},
		{"decide ann", 2, "", "want a customer and a placement, got 1 argument(s)"},
		{"decide ann web", 0, "banner", ""},
		{"decide ann outbound", 1, "no action is best", ""},
		{"decide nobody web", 1, "", "nobody has this identifier"},
		{"decide user_id: web", 2, "", "is no identifier"},
		{"decide down web", 2, "", "the mesh at " + address + " cannot answer now, try again: "},
		{"profile nobody", 1, "", "nobody has this identifier"},
		{"profile ann -o xml", 2, "", "use table, json or yaml"},
		{"profile ann --timeout 0s", 2, "", "--timeout"},
		{"explain", 2, "", "want an id, or --customer and --placement"},
		{"explain bad --customer ann", 2, "", "the id is not hex"},
		{"explain --customer ann --placement web", 0, "CAP_REACHED until 2026-03-01T13:00:00Z by ContactPolicy/cadence.caps[0] [welcome-mail Mon 09:12]", ""},
		{"dlq", 2, "", "want list, show or redrive"},
		{"dlq list", 0, "userId: missing", "--after 7"},
		{"dlq list", 0, "acme", ""},
		{"dlq list -o json", 0, `"tenant": "acme"`, ""},
		{"dlq show x2", 1, "", "there is no dead letter x2"},
		{"dlq redrive x1 x2", 1, "redrive.profile.0", "redrive x2"},
		{"dlq redrive x3 x1", 0, "its input was applied after all", ""},
		{"dlq redrive x3 -o json", 0, `"status": "applied"`, ""},
		{"clock", 2, "", "want get, advance, wall or mend"},
		{"clock advance 90d", 2, "", "not an ISO 8601 duration"},
		{"clock advance P91D --settle 0s", 2, "", "did not settle within 0s, the clock is at 2026-03-01T12:00:00Z: dispatch, partition 3: 1 calls are under way"},
		{"validate", 2, "", "want one directory"},
		{"validate testdata/nowhere", 2, "", "cannot be read"},
		{"get gadgets", 2, "", "is no kind"},
		{"provision --partitions 0", 2, "", "partitions is 0"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			b.run(t, strings.Fields(tc.args)...).want(t, tc.code, tc.out, tc.errout)
		})
	}
}

// A customer is found by the internal id that the log, tasks and timelines show, in every form in which they show it.
func TestACustomerIsFoundByTheInternalID(t *testing.T) {
	b := &bench{dial: serve(t, withServices), env: map[string]string{"REFRAIN_GRPC": address}}
	for _, customer := range []string{internal, "profile:" + internal, "default/c/" + internal} {
		for _, args := range []string{"profile @", "timeline @", "deliveries @", "decide @ web", "check @ service-mail email", "explain --customer @ --placement web"} {
			line := strings.Fields(strings.ReplaceAll(args, "@", customer))
			if r := b.run(t, line...); r.code != 0 {
				t.Errorf("%s: got code %d, %s", line, r.code, r.errout)
			}
		}
	}
	b.run(t, "profile", "ffff0000000000000000000000000001").want(t, 0, "", "") // a user_id may look like one
}

// What is wrong with a command line is one line, and what can be done stands before what the network said.
func TestErrorsPutTheUsefulPartFirst(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	b := &bench{env: map[string]string{"REFRAIN_GRPC": gone, "REFRAIN_HTTP": "http://" + gone}, stdin: `{"type":"track","userId":"a","event":"x"}`}
	for args, want := range map[string]string{
		"profile ann --nosuch":    "refrain: unknown flag: --nosuch ('refrain profile --help' says more)\n",
		"profil ann":              "refrain: unknown command \"profil\" for \"refrain\" Did you mean this? profile ('refrain --help' says more)\n",
		"profile ann":             "refrain: the mesh at " + gone + " does not answer: is it running? --grpc or REFRAIN_GRPC says where (connection refused)\n",
		"publish - --patience 0s": "refrain: ingest at http://" + gone + " does not answer: is it running? (connection refused); --http or REFRAIN_HTTP says where ingest is; nothing is known of numbers 1 to 1, publish them again\n",
	} {
		if r := b.run(t, strings.Fields(args)...); r.errout != want || r.code != 2 {
			t.Errorf("%s: got code %d, %q; want %q", args, r.code, r.errout, want)
		}
	}
}

// A mesh on the machine's clock does not serve the clock, and says so.
func TestClockIsNotServed(t *testing.T) {
	b := &bench{dial: serve(t, withServices), env: map[string]string{"REFRAIN_GRPC": address}}
	b.run(t, "clock", "get").want(t, 2, "", "does not serve this")
}

// Every command can be run, and says what it is for and how.
func TestEveryCommandHasHelp(t *testing.T) {
	b := &bench{}
	for command := range strings.FieldsSeq(`validate schema apply get publish decide explain profile timeline deliveries
		dlq provision tail status clock`) {
		r := b.run(t, command, "--help")
		if r.code != 0 || !strings.Contains(r.out, "Usage:\n  refrain "+command) || !strings.Contains(r.out, "Examples:\n") {
			t.Errorf("%s: code %d:\n%s", command, r.code, r.out)
		}
	}
}

func TestCheck(t *testing.T) {
	b := &bench{dial: serve(t, withServices), env: map[string]string{"REFRAIN_GRPC": address}}
	b.run(t, "check", "ann", "service-mail", "email").want(t, 0, "approved", "")
	b.run(t, "check", "ann", "thank-you", "email", "--topic", "news").want(t, 1, "CAP_REACHED", "")
	b.run(t, "check", "nobody", "thank-you", "email").want(t, 1, "", "nobody has this identifier")
	b.run(t, "check", "ann").want(t, 2, "", "a customer, an action and perhaps a channel")
}
