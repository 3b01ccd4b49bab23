package ingestsvc_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/services/ingest/ingestsvc"
)

// TestTheProcessStoresOnJetStream runs ingest as main does, on a real broker.
func TestTheProcessStoresOnJetStream(t *testing.T) {
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("NATS does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	site, err := log.NewJetStream(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Provision(t.Context(), site, log.Generation{Number: 1, Partitions: 2, Streams: 1, Replicas: 1},
		log.ProvisionConfig{Owner: "test", MaxBytes: 16 << 20}); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read, write := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run.Execute(ctx, run.Service[ingestsvc.Config]{
			Name: "ingest", Defaults: ingestsvc.Default(), Build: ingestsvc.New, Options: []run.Option{run.Stateless()},
		}, run.Environment{
			Args:   []string{"--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--nats", s.ClientURL()},
			Stderr: write,
		})
		_ = write.Close()
	}()
	address := httpAddress(t, read)
	res, err := http.Post("http://"+address+"/v1/track", "application/json", strings.NewReader(`{"userId":"u","event":"a"}`)) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var said reply
	if err := json.NewDecoder(res.Body).Decode(&said); err != nil || len(said.Positions) != 1 {
		t.Fatalf("got %+v, %v", said, err)
	}
	p := said.Positions[0]
	m, err := site.Last(t.Context(), fmt.Sprintf("evt.%s.%d", p.Lane, p.Partition))
	if err != nil || m.Sequence != p.Sequence {
		t.Fatalf("stored at %d, said %d, %v", m.Sequence, p.Sequence, err)
	}
	cancel()
	select {
	case c := <-code:
		if c != 0 {
			t.Fatalf("exit code %d", c)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("does not stop")
	}
}

// httpAddress reads the log until ingest is ready and returns where it listens.
func httpAddress(t *testing.T, lines io.Reader) string {
	t.Helper()
	found, ready := "", make(chan string, 1)
	go func() {
		for scanner := bufio.NewScanner(lines); scanner.Scan(); {
			var line struct {
				Component, Address string
				Ready              bool
			}
			_ = json.Unmarshal(scanner.Bytes(), &line)
			if line.Component == "ingest-http" {
				found = line.Address
			}
			if line.Ready {
				ready <- found
			}
		}
	}()
	select {
	case address := <-ready:
		return address
	case <-time.After(30 * time.Second):
		t.Fatal("ingest does not become ready")
		return ""
	}
}
