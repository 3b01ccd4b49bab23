package meshsvc

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	collectmetricsv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collecttracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// collector is an OTLP receiver in this process.
type collector struct {
	collecttracev1.UnimplementedTraceServiceServer
	collectmetricsv1.UnimplementedMetricsServiceServer

	address string

	mu      sync.Mutex
	spans   []*tracev1.Span
	text    strings.Builder
	metrics int
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{address: "http://" + l.Addr().String()}
	server := grpc.NewServer()
	collecttracev1.RegisterTraceServiceServer(server, c)
	collectmetricsv1.RegisterMetricsServiceServer(server, metricsOf{c: c})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() { server.Stop(); <-served })
	return c
}

// Export implements the trace service.
func (c *collector) Export(_ context.Context, req *collecttracev1.ExportTraceServiceRequest) (*collecttracev1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(req)
	for _, r := range req.GetResourceSpans() {
		for _, s := range r.GetScopeSpans() {
			c.spans = append(c.spans, s.GetSpans()...)
		}
	}
	return &collecttracev1.ExportTraceServiceResponse{}, nil
}

func (c *collector) keep(m proto.Message) {
	c.text.WriteString(protojson.Format(m))
}

type metricsOf struct {
	collectmetricsv1.UnimplementedMetricsServiceServer

	c *collector
}

// Export implements the metrics service.
func (m metricsOf) Export(_ context.Context, req *collectmetricsv1.ExportMetricsServiceRequest) (*collectmetricsv1.ExportMetricsServiceResponse, error) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	m.c.keep(req)
	m.c.metrics++
	return &collectmetricsv1.ExportMetricsServiceResponse{}, nil
}

// trace returns the spans of one trace by their ids.
func (c *collector) trace(id string) map[string]*tracev1.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]*tracev1.Span{}
	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) == id {
			out[hex.EncodeToString(s.GetSpanId())] = s
		}
	}
	return out
}

func (c *collector) everything() (text string, metrics int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String(), c.metrics
}

// export points the standard environment variables to a collector.
func export(t *testing.T, c *collector) {
	t.Helper()
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.address, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp",
		"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "100",
	} {
		t.Setenv(name, value)
	}
}

const (
	sampledTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	sampledSpan  = "00f067aa0ba902b7"
)

// "One event's trace spans all five services and the provider call."
func TestOneEventsTraceSpansAllFiveServicesAndTheProviderCall(t *testing.T) {
	c := startCollector(t)
	export(t, c)
	hook := startReceiver(t, http.StatusOK)
	r := start(t, hook.words(), secrets)
	body := `{"userId":"ada","messageId":"back-1","event":"stock_back","properties":{"item":"hat"}}`
	if code, a := r.post("/v1/track", []byte(body), "traceparent", "00-"+sampledTrace+"-"+sampledSpan+"-01"); code != http.StatusOK {
		t.Fatalf("answered %d %+v", code, a)
	}
	r.waitFor(user("ada"), "delivery_accepted", 1)
	want := []string{"ingest.http", "profile.decide", "decision.decide", "suppression.decide", "dispatch.decide", "dispatch.send"}
	var spans map[string]*tracev1.Span
	r.eventually("the trace is exported", func() bool {
		spans = c.trace(sampledTrace)
		return len(missing(spans, want)) == 0
	})
	call := checkParents(t, spans)
	_, header := hook.first()
	if got := header.Get("traceparent"); got != "00-"+sampledTrace+"-"+call+"-01" {
		t.Errorf("the provider was called with traceparent %q, want the trace and the span of the call, %s", got, call)
	}
	path := pathOf(spans, call)
	if left := slices.DeleteFunc(slices.Clone(want), func(name string) bool { return slices.Contains(path, name) }); len(left) > 0 {
		t.Errorf("the call's ancestors are %q, want %q among them", path, left)
	}
}

func missing(spans map[string]*tracev1.Span, want []string) []string {
	left := slices.Clone(want)
	for _, s := range spans {
		left = slices.DeleteFunc(left, func(name string) bool { return name == s.GetName() })
	}
	return left
}

// checkParents wants every span's parent in the trace, and returns the span of the provider call.
func checkParents(t *testing.T, spans map[string]*tracev1.Span) (call string) {
	t.Helper()
	for id, s := range spans {
		parent := hex.EncodeToString(s.GetParentSpanId())
		if spans[parent] == nil && parent != sampledSpan {
			t.Errorf("span %s has the parent %q, which is not in the trace", s.GetName(), parent)
		}
		if s.GetName() == "dispatch.send" {
			call = id
		}
	}
	return call
}

// pathOf lists the names from a span up to the root.
func pathOf(spans map[string]*tracev1.Span, id string) []string {
	var path []string
	for s := spans[id]; s != nil; s = spans[hex.EncodeToString(s.GetParentSpanId())] {
		path = append(path, s.GetName())
	}
	return path
}

// "No personal data in any of it": spans, metrics, logs.
func TestTelemetryHoldsNoPersonalData(t *testing.T) {
	c := startCollector(t)
	export(t, c)
	hook := startReceiver(t, http.StatusInternalServerError)
	r := start(t, hook.words(), secrets, func(c *Config) { c.LogLevel = "debug" })
	r.call("identify", object{
		"userId": "canary-user", "anonymousId": "canary-device", "context": object{"ip": "203.0.113.77", "userAgent": "canary-agent"},
		"traits": object{"email": "canary-mail@shop.example", "name": "Canary Name", "phone": "+4915112345678"},
	})
	r.call("track", object{"userId": "canary-user", "event": "consent_given", "properties": object{"channel": "email", "topic": "*", "basis": "opt_in", "evidence": "canary-evidence"}})
	r.call("track", object{"userId": "canary-user", "messageId": "canary-order", "event": "order_placed", "properties": object{"order_id": "canary-property", "total": 3}})
	r.stock("canary-user", "canary-stock")
	r.waitFor(user("canary-user"), "delivery_unknown", 1)
	r.waitFor(user("canary-user"), "delivery_accepted", 1)
	token := r.lines("email")[0].Token
	r.call("track", object{"userId": "canary-user", "event": "click", "properties": object{"token": token}})
	code, a := r.post("/v1/batch", []byte(`{"batch":[{"type":"track","userId":"canary-user","event":"canary-refused","timestamp":"canary-time"},`+
		`{"type":"identify","userId":"canary-user","traits":{"email":"canary-bad\r\nX: y"}},`+
		`{"type":"canary-kind","userId":"canary-user","event":"canary-refused"}]}`))
	if code != http.StatusOK || len(a.Refused) != 1 || len(a.Remarks) != 2 {
		t.Fatalf("answered %d %+v", code, a)
	}
	if _, a := r.post("/cloudevents", []byte(`{"canary":1}`), "Ce-Id", "canary-ce", "Ce-Specversion", "1.0"); len(a.Refused) != 1 {
		t.Fatalf("answered %+v", a)
	}
	resp, err := http.Post(r.url+"/u/"+token, "application/x-www-form-urlencoded", strings.NewReader("List-Unsubscribe=One-Click")) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	_ = r.profile(user("canary-nobody"))
	r.waitFor(user("canary-user"), "consent_withdrawn", 1)
	r.eventually("metrics are exported", func() bool { _, n := c.everything(); return n > 0 })
	prometheus := r.fetch("http://" + r.Addr("admin").String() + "/metrics")
	r.stop()
	exported, _ := c.everything()
	if !strings.Contains(exported, "dispatch.send") || !strings.Contains(prometheus, "refrain_") {
		t.Fatal("nothing was exported")
	}
	for where, text := range map[string]string{"spans and metrics": exported, "the log": r.logs.String(), "/metrics": prometheus} {
		for _, secret := range []string{"canary", "Canary", "203.0.113.77", "4915112345678", token} {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s hold %q: …%s…", where, secret, text[max(0, i-300):min(len(text), i+200)])
			}
		}
	}
}

func (r *running) fetch(url string) string {
	r.t.Helper()
	resp, err := http.Get(url) //nolint:gosec,noctx // our own mesh
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// "Off costs nothing": without the variables nothing is exported and no call carries a trace.
func TestWithoutTheStandardVariablesNothingIsExported(t *testing.T) {
	c := startCollector(t)
	export(t, c) // the exporters would find it, if there were any
	hook := startReceiver(t, http.StatusOK)
	r := startIn(t, func(string) string { return "" }, hook.words(), secrets)
	r.stock("ada", "back-1")
	r.waitFor(user("ada"), "delivery_accepted", 1)
	r.stop()
	if text, n := c.everything(); text != "" || n > 0 {
		t.Errorf("the collector got %s", text)
	}
	if _, header := hook.first(); header.Get("traceparent") != "" {
		t.Errorf("the provider was called with %v", header)
	}
}
