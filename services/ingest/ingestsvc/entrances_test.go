package ingestsvc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/config"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/run/runtest"
	"refrain.dev/services/ingest/ingestsvc"
)

// running is ingest as a process has it: HTTP, gRPC and NATS on real sockets, the log in memory.
type running struct {
	deps run.Deps
	http string
	grpc eventv1.IngestServiceClient
	nats *nats.Conn
}

func start(t *testing.T, change func(*ingestsvc.Config)) running {
	t.Helper()
	cfg := ingestsvc.Default()
	cfg.HTTP = "127.0.0.1:0"
	if change != nil {
		change(&cfg)
	}
	r := running{deps: runtest.Deps(t), nats: connectNATS(t)}
	r.deps.NATS = r.nats
	heard, ready := make(chan net.Addr, 1), make(chan struct{}, 1)
	r.deps.Listening = func(_ string, at net.Addr) { heard <- at }
	r.deps.Ready = func(string, bool) { ready <- struct{}{} }
	component, err := ingestsvc.New(t.Context(), cfg, r.deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- component.Run(ctx) }()
	l, err := run.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, ok := r.deps.GRPC.(*rpc.Server)
	if !ok {
		t.Fatalf("the registrar is a %T", r.deps.GRPC)
	}
	go func() { ended <- server.ServeUntil(ctx, l) }()
	conn, err := rpc.Dial(l.Addr().String(), rpc.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	r.grpc, r.http = eventv1.NewIngestServiceClient(conn), "http://"+(<-heard).String()
	<-ready
	return r
}

func connectNATS(t *testing.T) *nats.Conn {
	t.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("NATS does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		s.Shutdown()
		s.WaitForShutdown()
	})
	return nc
}

// reply is what JSON publishers are told.
type reply struct {
	Success   bool                     `json:"success"`
	Error     string                   `json:"error"`
	Refused   []struct{ Field string } `json:"refused"`
	Positions []struct {
		Lane      string
		Partition int
		Sequence  uint64
	} `json:"positions"`
}

// TestTheSameEventGoesToTheSameHomeThroughEveryEntrance publishes one event through all doors.
func TestTheSameEventGoesToTheSameHomeThroughEveryEntrance(t *testing.T) {
	r := start(t, nil)
	track := `{"type":"track","userId":"u1","event":"a","messageId":"m1"}`
	partitions := map[string]int{}

	res, err := http.Post(r.http+"/v1/track", "application/json", bytes.NewReader([]byte(track))) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var over reply
	if err := json.NewDecoder(res.Body).Decode(&over); err != nil || !over.Success {
		t.Fatalf("http: %+v, %v", over, err)
	}
	partitions["http"] = over.Positions[0].Partition

	answer, err := r.grpc.PublishEvents(t.Context(), &eventv1.PublishEventsRequest{Events: []*eventv1.Event{
		{Id: "m1", Type: "a", Kind: eventv1.Kind_KIND_TRACK, Identifiers: []*eventv1.Identifier{{Kind: "user_id", Value: "u1"}}},
		{Type: "a", Kind: eventv1.Kind_KIND_TRACK},
	}})
	if err != nil || answer.GetResults()[1].GetRefusal().GetField() != "identifiers" || answer.GetResults()[1].GetRefusal().GetIndex() != 1 {
		t.Fatalf("grpc: %v, %v", answer, err)
	}
	partitions["grpc"] = int(answer.GetResults()[0].GetPosition().GetPartition())

	for name, m := range map[string]*nats.Msg{
		"nats segment": {Data: []byte(track)},
		"nats batch":   {Data: []byte(`{"batch":[` + track + `]}`)},
		"nats cloudevent": {Data: []byte(`{}`), Header: nats.Header{
			"ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"a"}, "ce-specversion": {"1.0"}, "ce-userid": {"u1"}, "content-type": {"application/json"}}},
	} {
		m.Subject = log.PublishSubject + ".default"
		got, err := r.nats.RequestMsg(m, 10*time.Second)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var said reply
		if err := json.Unmarshal(got.Data, &said); err != nil || !said.Success || len(said.Positions) != 1 {
			t.Fatalf("%s: %s", name, got.Data)
		}
		partitions[name] = said.Positions[0].Partition
	}
	for name, p := range partitions {
		if p != partitions["http"] {
			t.Errorf("%s stores in partition %d, http in %d", name, p, partitions["http"])
		}
	}
}

func TestNATSAnswersProtobufWithProtobuf(t *testing.T) {
	r := start(t, nil)
	data, err := (&eventv1.PublishEventsRequest{Events: []*eventv1.Event{
		{Id: "1", Type: "a", Kind: eventv1.Kind_KIND_TRACK, Identifiers: []*eventv1.Identifier{{Kind: "user_id", Value: "u1"}}},
	}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.nats.RequestMsg(&nats.Msg{Subject: "publish.default", Data: data, Header: nats.Header{"Content-Type": {"application/protobuf"}}}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	out := &eventv1.PublishEventsResponse{}
	if err := out.UnmarshalVT(got.Data); err != nil || out.GetResults()[0].GetPosition().GetSequence() == 0 {
		t.Fatalf("got %s, %v", got.Data, err)
	}
}

func TestGRPCWantsAWriteKeyWhenThereAreSome(t *testing.T) {
	r := start(t, func(c *ingestsvc.Config) { c.WriteKeys = map[string]config.Secret{"shop": "k1"} })
	req := &eventv1.PublishEventsRequest{Events: []*eventv1.Event{
		{Id: "1", Type: "a", Kind: eventv1.Kind_KIND_TRACK, Identifiers: []*eventv1.Identifier{{Kind: "user_id", Value: "u1"}}},
	}}
	if _, err := r.grpc.PublishEvents(t.Context(), req); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a key: %v", err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer k1")
	if _, err := r.grpc.PublishEvents(ctx, req); err != nil {
		t.Errorf("with a key: %v", err)
	}
	if _, err := r.grpc.PublishEvents(ctx, &eventv1.PublishEventsRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("without events: %v", err)
	}
}

func TestHealthAndReadiness(t *testing.T) {
	r := start(t, nil)
	for _, path := range []string{"/healthz", "/readyz"} {
		res, err := http.Get(r.http + path) //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}
