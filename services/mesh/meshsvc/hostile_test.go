package meshsvc

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
)

func deep(levels int) string {
	return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels)
}

func bomb(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	for range 64 {
		if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// "Hostile input for every entrance. Each gets a clear error; nothing crashes": HTTP.
func TestHostileHTTPRequestsLeaveARunningMeshHealthy(t *testing.T) {
	r := start(t, nil)
	binary := []string{"Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "order_placed", "Ce-Specversion", "1.0", "Ce-Userid", "u"}
	track := func(properties string) string {
		return `{"userId":"u","event":"order_placed","properties":` + properties + `}`
	}
	for name, c := range map[string]struct {
		path    string
		body    []byte
		headers []string
		status  int
		refused bool
		aside   string // the field that is set aside
	}{
		"oversized track":        {path: "/v1/track", body: []byte(track(`{"note":"` + strings.Repeat("x", 40<<10) + `"}`)), status: 413},
		"oversized batch":        {path: "/v1/batch", body: []byte(`{"batch":["` + strings.Repeat("x", 1<<20) + `"]}`), status: 413},
		"gzip bomb":              {path: "/v1/batch", body: bomb(t), headers: []string{"Content-Encoding", "gzip"}, status: 413},
		"gzip bomb, CloudEvent":  {path: "/cloudevents", body: bomb(t), headers: append([]string{"Content-Encoding", "gzip"}, binary...), status: 413},
		"deep":                   {path: "/v1/track", body: []byte(track(deep(4000))), status: 200, refused: true},
		"deep CloudEvent":        {path: "/cloudevents", body: []byte(deep(4000)), headers: binary, status: 200, refused: true},
		"invalid UTF-8":          {path: "/v1/track", body: []byte(track("{\"note\":\"\xc3\x28\"}")), status: 200, refused: true},
		"wrong type of the list": {path: "/v1/batch", body: []byte(`{"batch":7}`), status: 400},
		"wrong type of a field":  {path: "/v1/track", body: []byte(`{"userId":{},"event":[]}`), status: 200, refused: true},
		"line break in address":  {path: "/v1/identify", body: []byte(`{"userId":"u","traits":{"email":"a@b.example\r\nBcc: c@d.example"}}`), status: 200, aside: "traits.email"},
		"profile by its number":  {path: "/v1/track", body: []byte(`{"event":"a","context":{"externalIds":[{"type":"profile","id":"00"}]}}`), status: 200, refused: true},
		"receipt without token":  {path: "/v1/receipts/email", body: []byte(`{"token":"AAAA","kind":"bounced"}`), status: 400},
		"receipt of a deep body": {path: "/v1/receipts/email", body: []byte(deep(4000)), status: 400},
		"unsubscribe forged":     {path: "/u/AAAA", body: []byte("List-Unsubscribe=One-Click"), status: 404},
	} {
		t.Run(name, func(t *testing.T) {
			code, a := post(t, r.url+c.path, c.body, c.headers...)
			if code != c.status || (len(a.Refused) == 1) != c.refused || (code != http.StatusOK && c.path != "/u/AAAA" && a.Error == "") {
				t.Errorf("answered %d %+v, want %d", code, a, c.status)
			}
			if c.aside != "" && (len(a.Remarks) != 1 || a.Remarks[0].Field != c.aside || a.Remarks[0].Why == "") {
				t.Errorf("remarks %+v, want one about %s that says why", a.Remarks, c.aside)
			}
			if c.refused && (a.Refused[0].Why == "" || a.Refused[0].DeadLetter == "") {
				t.Errorf("refused without a reason or a dead letter: %+v", a)
			}
		})
	}
	r.healthy("after-http")
}

// The same for gRPC: every method answers what is wrong, with the field.
func TestHostileCallsLeaveARunningMeshHealthy(t *testing.T) {
	r := start(t, nil)
	bad := &eventv1.Identifier{Kind: "user_id", Value: strings.Repeat("x", 600)}
	calls := map[string]func(context.Context) error{
		"profile of nobody": func(ctx context.Context) error {
			_, err := r.profiles.GetProfile(ctx, &profilev1.GetProfileRequest{})
			return err
		},
		"profile, long": func(ctx context.Context) error {
			_, err := r.profiles.GetProfile(ctx, &profilev1.GetProfileRequest{Identifier: bad})
			return err
		},
		"profile, unknown kind": func(ctx context.Context) error {
			_, err := r.profiles.GetProfile(ctx, &profilev1.GetProfileRequest{Identifier: &eventv1.Identifier{Kind: "shoe_size", Value: "44"}})
			return err
		},
		"profile, no such partition": func(ctx context.Context) error {
			_, err := r.profiles.GetProfile(ctx, &profilev1.GetProfileRequest{Identifier: user("u"), AtLeast: &eventv1.Position{Partition: 1 << 31, Lane: "live", Sequence: 1}})
			return err
		},
		"timeline, too many": func(ctx context.Context) error {
			_, err := r.profiles.ListTimeline(ctx, &profilev1.ListTimelineRequest{Identifier: user("u"), Limit: 1 << 31})
			return err
		},
		"actions without placement": func(ctx context.Context) error {
			_, err := r.decisions.NextBestActions(ctx, &decisionv1.NextBestActionsRequest{Identifier: user("u")})
			return err
		},
		"actions, too many": func(ctx context.Context) error {
			_, err := r.decisions.NextBestActions(ctx, &decisionv1.NextBestActionsRequest{Identifier: user("u"), Placement: "web-banner", Limit: 1 << 31})
			return err
		},
		"check of nothing": func(ctx context.Context) error {
			_, err := r.contacts.Check(ctx, &contactv1.CheckRequest{Identifier: user("u")})
			return err
		},
		"reserve under a bad id": func(ctx context.Context) error {
			_, err := r.contacts.Reserve(ctx, &contactv1.ReserveRequest{Identifier: user("u"), Id: "../../etc", Contact: &contactv1.Contact{Action: "thanks", Channel: "email"}})
			return err
		},
		"no such letters": func(ctx context.Context) error {
			_, err := r.sends.ListDeadLetters(ctx, &dispatchv1.ListDeadLettersRequest{Stage: "evt.>"})
			return err
		},
		"no events": func(ctx context.Context) error {
			_, err := r.ingest.PublishEvents(ctx, &eventv1.PublishEventsRequest{})
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			if err := call(t.Context()); status.Code(err) != codes.InvalidArgument {
				t.Errorf("answered %v, want what is invalid", err)
			}
		})
	}
	resp, err := r.ingest.PublishEvents(t.Context(), &eventv1.PublishEventsRequest{Events: []*eventv1.Event{
		{}, {Id: "x", Type: "t", Kind: 99, At: timestamppb.Now(), Identifiers: []*eventv1.Identifier{user("u")}},
		{Id: "y", Type: "t", Kind: eventv1.Kind_KIND_TRACK, At: &timestamppb.Timestamp{Seconds: 1 << 60}, Identifiers: []*eventv1.Identifier{user("u")}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i, res := range resp.GetResults()[:2] {
		if res.GetRefusal().GetWhy() == "" {
			t.Errorf("event %d is not refused: %v", i, res)
		}
	}
	if res := resp.GetResults()[2]; res.GetPosition() == nil || len(res.GetRemarks()) != 1 || res.GetRemarks()[0].GetField() != "at" {
		t.Errorf("an event with an unusable time: %v, want it stored, with a remark about at", res)
	}
	big := &eventv1.PublishEventsRequest{Events: []*eventv1.Event{{Id: strings.Repeat("x", 5<<20)}}}
	if _, err := r.ingest.PublishEvents(t.Context(), big); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("5 MiB: answered %v", err)
	}
	r.healthy("after-rpc")
}

// The same for the NATS subject that publishers use.
func TestHostileNATSRequestsLeaveARunningMeshHealthy(t *testing.T) {
	r := start(t, nil)
	nc := r.nats()
	proto := nats.Header{"Content-Type": {"application/protobuf"}}
	for name, m := range map[string]*nats.Msg{
		"nothing":       {Subject: "publish.default"},
		"no JSON":       {Subject: "publish.default", Data: []byte("\xff{")},
		"deep":          {Subject: "publish.default", Data: []byte(deep(50_000))},
		"broken proto":  {Subject: "publish.default", Header: proto, Data: []byte{0xff, 0xff, 0xff}},
		"no tenant":     {Subject: "publish.A", Data: []byte(`{"type":"track","userId":"u","event":"a"}`)},
		"large":         {Subject: "publish.default", Data: bytes.Repeat([]byte("x"), 900<<10)},
		"CloudEvent, 0": {Subject: "publish.default", Header: nats.Header{"Content-Type": {"application/cloudevents+json"}}, Data: []byte("{}")},
	} {
		t.Run(name, func(t *testing.T) {
			reply, err := nc.RequestMsg(m, patience)
			if err != nil {
				t.Fatal(err)
			}
			var a answer
			if err := json.Unmarshal(reply.Data, &a); err != nil || a.Error == "" && len(a.Refused) == 0 {
				t.Errorf("answered %q (%v)", reply.Data, err)
			}
		})
	}
	r.healthy("after-nats")
}

// What nobody of ours wrote into the log's own subjects goes to the dead letters; the partition goes on.
func TestGarbageInTheLogGoesToTheDeadLettersAndThePartitionGoesOn(t *testing.T) {
	r := start(t, nil, func(c *Config) { c.Partitions = 1 })
	js, err := jetstream.New(r.nats())
	if err != nil {
		t.Fatal(err)
	}
	arrival, err := (&stagev1.Arrivals{Items: []*stagev1.Arrival{
		{At: timestamppb.Now(), ReceivedAt: timestamppb.Now(), Item: &stagev1.Arrival_Payload{Payload: []byte{0xff, 0xff, 0xff}}},
		{},
	}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{
		"evt.live.0", "evt.control.0", "evt.bulk.0", "redrive.profile.0", "redrive.decision.0", "redrive.suppression.0", "redrive.dispatch.0",
	} {
		for _, data := range [][]byte{{0xff, 0xff, 0xff, 0xff}, {}, arrival, bytes.Repeat([]byte{0x0a}, 900<<10)} {
			if _, err := js.Publish(t.Context(), subject, data); err != nil {
				t.Fatalf("%s: %v", subject, err)
			}
		}
	}
	r.healthy("after-garbage")
	letters := r.letters("profile", 1)
	for _, stage := range []string{"decision", "suppression", "dispatch"} {
		letters = append(letters, r.letters(stage, 1)...)
	}
	for _, l := range letters {
		if l.GetWhy() == "" || l.GetCode() == "" {
			t.Errorf("a dead letter says nothing: %v", l)
		}
		sent, err := r.sends.RedriveDeadLetter(t.Context(), &dispatchv1.RedriveDeadLetterRequest{Id: l.GetId()})
		if err != nil || sent.GetSubject() != log.Subject(log.Redrive(l.GetStage()), 0) {
			t.Errorf("redrive of %v: %v, %v", l, sent, err)
		}
	}
	r.healthy("after-redrives")
}

// letters waits for at least n dead letters of a stage.
func (r *running) letters(stage string, n int) []*dispatchv1.DeadLetterInfo {
	r.t.Helper()
	var got []*dispatchv1.DeadLetterInfo
	r.eventually("dead letters of "+stage, func() bool {
		resp, err := r.sends.ListDeadLetters(r.t.Context(), &dispatchv1.ListDeadLettersRequest{Stage: stage, Limit: 1000})
		if err != nil {
			r.t.Fatalf("list dead letters: %v", err)
		}
		got = resp.GetDeadLetters()
		return len(got) >= n
	})
	return got
}

// "Header injection": what would begin another header line is not sent at all.
func TestALineBreakInASubjectIsNotSent(t *testing.T) {
	server := startRelay(t)
	r := start(t, words{"EMAIL": `adapter: smtp, config: {address: "` + server.address + `", from: "shop@shop.example"}`})
	r.customer("eve")
	r.order("eve", "7\r\nBcc: everybody@shop.example")
	failed := r.waitFor(user("eve"), "delivery_unsent", 1)
	if got := codesOf(failed[0].GetReasons()); !slices.Contains(got, reasonv1.Code_CODE_RENDER_FAILED) {
		t.Errorf("not sent because of %v", got)
	}
	r.order("eve", "8\u2028Bcc: everybody@shop.example")
	r.waitFor(user("eve"), "delivery_accepted", 1)
	for _, m := range server.got() {
		parsed, err := mail.ReadMessage(strings.NewReader(m.Data))
		if err != nil || parsed.Header.Get("Bcc") != "" || !slices.Equal(m.To, []string{"eve@shop.example"}) {
			t.Errorf("the server got\n%s", m.Data)
		}
	}
	r.healthy("after-injection")
}

// Slow and endless senders are cut off; the others are served meanwhile.
func TestARequestThatNeverEndsKeepsNobodyElseOut(t *testing.T) {
	r := start(t, nil)
	at, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		conn := dialTCP(t, at.Host)
		if _, err := conn.Write([]byte("POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")); err != nil {
			t.Fatal(err)
		}
	}
	started := time.Now()
	r.healthy("beside-slow-senders")
	if took := time.Since(started); took > patience {
		t.Errorf("an event took %s", took)
	}
}
