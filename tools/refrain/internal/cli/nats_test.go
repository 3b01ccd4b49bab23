package cli_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"refrain.dev/tools/refrain/internal/cli"
)

// natsServer starts a NATS server with JetStream in this process and returns its URL.
func natsServer(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s.ClientURL()
}

// The commands on the log, through a real NATS server.
func TestThroughNATS(t *testing.T) {
	run := func(args ...string) result {
		var out, errout bytes.Buffer
		code := cli.Run(t.Context(), args, cli.World{
			Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errout, Now: time.Now, Open: cli.OpenNATS,
			Getenv: func(string) string { return "" },
		})
		return result{code, out.String(), errout.String()}
	}
	url := natsServer(t)
	nowhere := "--grpc=127.0.0.1:1"
	run("status", "--nats", url).want(t, 2, "", "is not provisioned yet")
	run("provision", "--nats", url, "--partitions", "2", "--max-bytes", "1048576").want(t, 0, "generation 1 is ready", "")
	run("apply", directory(t, shop), "--nats", url, nowhere).want(t, 0, "it is the first", "")
	run("get", "journey", "welcome", "--nats", url).want(t, 0, "event: order", "")
	run("status", "--nats", url).want(t, 0, "decision", "")
	run("tail", "--nats", url, "--from-start", "--no-follow").want(t, 0, `"GENESIS"`, "")
	run("status", "--nats", "nats://127.0.0.1:1").want(t, 2, "", "--nats or REFRAIN_NATS says where")
}
