package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/durationpb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/embed/embedtest"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/state"
	"refrain.dev/tools/ledger"
)

const (
	meshPartitions = 4
	runOn          = 90 * 24 * time.Hour
)

// meshRun is one mesh on the replay clock, as a process of its own over a Redis of its own.
type meshRun struct {
	t       *testing.T
	dir     string
	process *process
	redis   *redisState

	workspace string
	target    time.Time     // how far the clock shall run
	pace      time.Duration // between events

	accepted []string
}

// end is what is left of a run, to compare.
type end struct {
	facts  [2]facts // by precision
	lines  []string
	totals ledger.Totals
}

func newMeshRun(ctx context.Context, t *testing.T, bin, workspace string) *meshRun {
	t.Helper()
	m := &meshRun{t: t, dir: t.TempDir(), redis: newRedisState(t), workspace: workspace}
	m.provision(ctx)
	m.process = newProcess(t, m.dir, "mesh", filepath.Join(bin, "mesh"), "--dir", m.dir, "--workspace", workspace, "--clock", "replay",
		"--partitions", fmt.Sprint(meshPartitions), "--nats-port", "-1", "--redis", m.redis.addr, "--grpc", "127.0.0.1:0",
		"--admin", "127.0.0.1:0", "--ingest-http", "127.0.0.1:0")
	m.start(ctx)
	return m
}

// provision gives all meshes of the test the same secret, so that their customers have the same ids.
func (m *meshRun) provision(ctx context.Context) {
	server, err := embed.StartNATS(embed.NATSConfig{Dir: filepath.Join(m.dir, "log"), DontListen: true})
	if err != nil {
		m.t.Fatal(err)
	}
	defer server.Shutdown()
	nc, err := server.Connect()
	if err != nil {
		m.t.Fatal(err)
	}
	defer nc.Close()
	site, err := log.NewJetStream(nc)
	if err != nil {
		m.t.Fatal(err)
	}
	gen := log.Generation{Number: 1, Partitions: meshPartitions, Streams: 1, Replicas: 1, Secret: bytes.Repeat([]byte("s"), 32)}
	if _, err := log.Provision(ctx, site, gen, log.ProvisionConfig{Owner: "test"}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *meshRun) start(ctx context.Context) {
	m.t.Helper()
	if err := m.process.start(); err != nil {
		m.t.Fatal(err)
	}
	err := await(ctx, "the mesh to be ready", func() bool { return m.process.answersReady(ctx) || len(m.process.trouble()) > 0 })
	if trouble := m.process.trouble(); err != nil || len(trouble) > 0 {
		m.fatalf("the mesh did not start: %v %v", err, trouble)
	}
}

// fatalf ends the test with the end of the mesh's log.
func (m *meshRun) fatalf(format string, args ...any) {
	m.t.Helper()
	data, _ := os.ReadFile(filepath.Join(m.dir, "mesh.log"))
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	m.t.Fatalf("%s\nits last lines:\n%s", fmt.Sprintf(format, args...), strings.Join(lines[max(0, len(lines)-25):], "\n"))
}

// killAndStart is kill -9, and the same again.
func (m *meshRun) killAndStart(ctx context.Context) {
	m.process.kill()
	m.start(ctx)
}

// publish sends every event in a request of its own until it is acknowledged, so that what the log holds
// follows from the events alone, and disturbs at the given events.
func (m *meshRun) publish(ctx context.Context, events []json.RawMessage, disturb map[int]func(context.Context)) {
	m.t.Helper()
	for n, e := range events {
		if d := disturb[n]; d != nil {
			d(ctx)
		}
		if m.pace > 0 {
			pause(ctx, m.pace)
		}
		i := importer{urls: func() []string { return []string{m.process.addr("ingest-http")} }}
		refused, err := i.send(ctx, []json.RawMessage{e})
		if err != nil || len(refused) > 0 {
			m.fatalf("publish event %d: %v %v", n, err, refused)
		}
		m.accepted = append(m.accepted, idOf(m.t, e))
	}
}

// clock asks the mesh's clock service, with patience while there is none.
func (m *meshRun) clock(ctx context.Context, ask func(context.Context, stagev1.ClockServiceClient) error) error {
	conn, err := rpc.Dial(m.process.addr("grpc"), rpc.ClientConfig{})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return ask(ctx, stagev1.NewClockServiceClient(conn))
}

// advance lets the clock run to the target: ninety days past the last event, also after a restart, which
// forgets how far it was allowed to go.
func (m *meshRun) advance(ctx context.Context) {
	m.t.Helper()
	err := m.clock(ctx, func(ctx context.Context, c stagev1.ClockServiceClient) error {
		at, err := c.GetClock(ctx, &stagev1.GetClockRequest{})
		if err != nil {
			return err
		}
		from := at.GetUntil().AsTime()
		if now := at.GetNow().AsTime(); now.After(from) {
			from = now
		}
		if m.target.IsZero() {
			m.target = from.Add(runOn)
		}
		by := m.target.Sub(from).Truncate(time.Second)
		_, err = c.AdvanceClock(ctx, &stagev1.AdvanceClockRequest{
			By: fmt.Sprintf("PT%dS", int(by.Seconds())), Wait: durationpb.New(0), // it is disturbed on its way
		})
		return err
	})
	if err != nil {
		m.fatalf("advance the clock: %v", err)
	}
}

func (m *meshRun) clockNow(ctx context.Context) *stagev1.GetClockResponse {
	m.t.Helper()
	var at *stagev1.GetClockResponse
	err := m.clock(ctx, func(ctx context.Context, c stagev1.ClockServiceClient) (err error) {
		at, err = c.GetClock(ctx, &stagev1.GetClockRequest{})
		return err
	})
	if err != nil {
		m.fatalf("read the clock: %v", err)
	}
	return at
}

// settle waits until everything up to the bound has happened.
func (m *meshRun) settle(ctx context.Context) {
	m.t.Helper()
	m.await(ctx, "the mesh to settle", func(at *stagev1.GetClockResponse) bool { return at.GetSettled() })
}

// rest waits until nothing is left to do before the clock is advanced: the newest instant is held back until then.
func (m *meshRun) rest(ctx context.Context) {
	m.t.Helper()
	m.await(ctx, "the mesh to come to rest", func(at *stagev1.GetClockResponse) bool { return at.GetSettled() || at.GetHeld() != nil })
}

func (m *meshRun) await(ctx context.Context, what string, ok func(*stagev1.GetClockResponse) bool) {
	m.t.Helper()
	var at *stagev1.GetClockResponse
	err := await(ctx, what, func() bool {
		at = m.clockNow(ctx)
		return ok(at)
	})
	if err != nil {
		m.fatalf("%v; it stands at %v", err, at)
	}
}

// finish checks what is left, and returns it.
func (m *meshRun) finish(ctx context.Context) end {
	m.t.Helper()
	nc, err := nats.Connect("nats://" + m.process.addr("nats"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer nc.Close()
	site, err := log.NewJetStream(nc)
	if err != nil {
		m.t.Fatal(err)
	}
	gen, err := log.LoadGeneration(ctx, site.KV())
	if err != nil {
		m.t.Fatal(err)
	}
	e := m.check(ctx, site, gen)
	for _, how := range []precision{exactly, inTheEnd} {
		e.facts[how] = readFacts(ctx, m.t, site, gen, how)
	}
	if err := m.process.stop(); err != nil {
		m.t.Errorf("the mesh did not stop cleanly: %v", err)
	}
	return e
}

func (m *meshRun) check(ctx context.Context, site log.Broker, gen log.Generation) end {
	m.t.Helper()
	h, err := ledger.Load(ctx, site, state.NewRedis(m.redis.client, gen.Number), gen)
	if err != nil {
		m.t.Fatal(err)
	}
	rules, errRules := ledger.ReadDefinitions(os.DirFS(m.workspace))
	mails, errMails := ledger.ReadFileChannel(filepath.Join(m.dir, "channels", "email.jsonl"))
	tasks, errTasks := ledger.ReadFileChannel(filepath.Join(m.dir, "channels", "team.jsonl"))
	if err := errors.Join(errRules, errMails, errTasks); err != nil {
		m.t.Fatal(err)
	}
	h.Definitions, h.Received = map[string]*ledger.Definitions{"": rules}, slices.Concat(mails, tasks)
	h.Sent, h.AllSent, h.Settled, h.Now = acknowledged(m.accepted), true, true, m.target
	report := ledger.Verify(h)
	for _, v := range report.Violations {
		m.t.Errorf("wrong: %s", v)
	}
	for _, what := range report.Unchecked {
		m.t.Errorf("not checked: %s", what)
	}
	for subject, letters := range h.Log {
		if strings.HasPrefix(subject, "dlq.") && len(letters) > 0 {
			m.t.Errorf("%s has %d dead letters", subject, len(letters))
		}
	}
	e := end{totals: report.Totals}
	for _, r := range h.Received {
		e.lines = append(e.lines, fmt.Sprintf("%s %s %s", r.Proposal, r.Channel, r.Customer))
	}
	slices.Sort(e.lines)
	return e
}

// TestMeshEndsTheSame disturbs a mesh on the replay clock in its middle and compares its end with that of
// an undisturbed run.
func TestMeshEndsTheSame(t *testing.T) {
	embedtest.Require(t, "redis")
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute) // of a machine that does much else
	defer cancel()
	invoices := 500
	if testing.Short() {
		invoices = 150
	}
	s := setting{bin: build(t, "mesh"), workspace: filepath.Join(t.TempDir(), "workspace"), events: shop(t, invoices)}
	// A copy: all runs must see the same definitions.
	if err := os.CopyFS(s.workspace, os.DirFS("../../examples/retail")); err != nil {
		t.Fatal(err)
	}
	quiet := func(*meshRun, plan) {}
	want := runMesh(ctx, t, s, quiet)
	if want.totals.Sent < invoices/4 {
		t.Fatalf("the undisturbed run sent only %d: %v", want.totals.Sent, want.totals)
	}
	for _, tc := range []struct {
		name    string
		disturb func(*meshRun, plan)
		how     precision
	}{
		{"killed and started again", killed, inTheEnd},
		{"redis emptied", redisEmptied, exactly},
		{"redis emptied while it is killed", redisEmptiedAndKilled, inTheEnd},
		{"redis rolled back", redisRolledBack, exactly},
		{"redis rolled back while it is killed", redisRolledBackAndKilled, inTheEnd},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := runMesh(ctx, t, s, tc.disturb)
			if want.totals != got.totals {
				t.Errorf("the end differs:\n  %v, undisturbed:\n  %v", got.totals, want.totals)
			}
			if diff := cmp.Diff(want.lines, got.lines); diff != "" {
				t.Errorf("the channels got something else (-undisturbed +got):\n%s", diff)
			}
			wrong := differences(want.facts[tc.how], got.facts[tc.how])
			for n, d := range wrong {
				if n == 5 {
					t.Errorf("… and %d more", len(wrong)-n)
					break
				}
				t.Error(d)
			}
		})
	}
}

// setting is what all runs have in common.
type setting struct {
	bin, workspace string
	events         []json.RawMessage
}

// runMesh is one whole run.
func runMesh(ctx context.Context, t *testing.T, s setting, disturb func(*meshRun, plan)) end {
	t.Helper()
	started := time.Now()
	m := newMeshRun(ctx, t, s.bin, s.workspace)
	p := plan{ctx: ctx, random: random(t), publishing: map[int]func(context.Context){}, events: len(s.events)}
	p.between, p.running = new([]func(context.Context)), new([]func(context.Context))
	disturb(m, p)
	m.publish(ctx, s.events, p.publishing)
	for _, d := range *p.between {
		d(ctx)
	}
	m.advance(ctx)
	for _, d := range *p.running {
		d(ctx)
	}
	m.settle(ctx)
	at := m.clockNow(ctx).GetNow().AsTime()
	e := m.finish(ctx)
	t.Logf("%d events, %d facts in %d rows, %d kills, redis %s, clock at %s, took %s\n  %v", len(m.accepted), e.facts[exactly].count(), len(e.facts[exactly]),
		m.process.kills, m.redis, at.Format(time.DateTime), time.Since(started).Round(time.Millisecond), e.totals)
	return e
}
