package ingestsvc

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/telemetry"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// positionHeader carries the positions of an answer, such as live/3/1027,control/0/12.
const positionHeader = "X-Refrain-Position"

// httpEntrances serves everything that comes over HTTP.
type httpEntrances struct {
	door  *door
	keys  keyring
	ready func() bool
}

func (h *httpEntrances) handler(deps run.Deps) http.Handler {
	mux := http.NewServeMux()
	for _, call := range []string{"track", "identify", "page", "screen", "group", "alias", "batch"} {
		mux.Handle("/v1/"+call, h.cors(h.segment(call)))
	}
	mux.Handle("/cloudevents", h.cors(http.HandlerFunc(h.cloudEvents)))
	mux.HandleFunc("POST /v1/receipts/{channel}", h.receipts)
	mux.HandleFunc("/u/{token}", h.unsubscribe)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !h.ready() {
			http.Error(w, "starting", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	if !telemetry.Enabled(deps.Tracer, deps.Meter) {
		return mux
	}
	// Unsubscribe links stay out of spans: their path is a customer's token.
	traced := func(r *http.Request) bool { return !strings.HasPrefix(r.URL.Path, "/u/") }
	return otelhttp.NewHandler(mux, "ingest.http", otelhttp.WithFilter(traced), otelhttp.WithTracerProvider(deps.Tracer),
		otelhttp.WithMeterProvider(deps.Meter), otelhttp.WithPropagators(telemetry.Propagator()),
		otelhttp.WithSpanNameFormatter(func(string, *http.Request) string { return "ingest.http" }))
}

// cors lets browsers publish from anywhere, as the Segment API does; write keys are no secrets there.
func (h *httpEntrances) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Expose-Headers", positionHeader+", Retry-After")
		switch r.Method {
		case http.MethodOptions:
			w.Header().Set("Access-Control-Allow-Methods", "POST, OPTIONS")
			w.Header().Set("Access-Control-Allow-Headers", "*, Authorization, Content-Type, Content-Encoding")
			w.Header().Set("Access-Control-Max-Age", "86400")
			w.WriteHeader(http.StatusNoContent)
		case http.MethodPost:
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("Allow", "POST, OPTIONS")
			fail(w, http.StatusMethodNotAllowed, "only POST is served here")
		}
	})
}

// read lets a request in and reads its body of at most limit bytes. The visit must be left. Without one the
// request has been answered.
func (h *httpEntrances) read(w http.ResponseWriter, r *http.Request, via string, limit int64) (*overload.Visit, []byte) {
	class, size := classOf(via), limit
	if r.ContentLength >= 0 && r.Header.Get("Content-Encoding") == "" {
		size = min(limit, r.ContentLength)
	}
	visit, err := h.door.gate.Enter(size, class)
	if err != nil {
		h.failed(r.Context(), w, via, err)
		return nil, nil
	}
	body, err := readBody(r, limit)
	if err != nil {
		visit.Leave()
		refuseBody(w, err)
		return nil, nil
	}
	if class == overload.Normal && (maybeUrgent(body) || maybeUrgentType(r.Header.Get("Ce-Type"))) {
		class = overload.Urgent
	}
	if err := h.door.begin(r.Context(), visit, class, r.Header.Get(laneHeader)); err != nil {
		visit.Leave()
		h.failed(r.Context(), w, via, err)
		return nil, nil
	}
	return visit, body
}

// errTooLarge says that a body, as sent or inflated, is over its limit.
var errTooLarge = errors.New("body is too large")

// readBody reads a body of at most limit bytes, inflating gzip without ever holding more.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	body := io.LimitReader(r.Body, limit+1)
	switch encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		inflated, err := gzip.NewReader(body)
		if err != nil {
			return nil, fault.New(fault.Invalid, "the body is not gzip")
		}
		defer func() { _ = inflated.Close() }()
		body = io.LimitReader(inflated, limit+1)
	default:
		return nil, fault.New(fault.Invalid, "the content encoding is not gzip")
	}
	data, err := io.ReadAll(body)
	if int64(len(data)) > limit {
		return nil, fault.As(fault.Invalid, fmt.Errorf("%w: more than %d bytes", errTooLarge, limit))
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "the body cannot be read to its end")
	}
	return data, nil
}

// refuseBody answers for a body that could not be read.
func refuseBody(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	if errors.Is(err, errTooLarge) {
		status = http.StatusRequestEntityTooLarge
		w.Header().Set("Connection", "close")
	}
	fail(w, status, err.Error())
}

// store takes a submission through the door and answers.
func (h *httpEntrances) store(w http.ResponseWriter, r *http.Request, s submission) {
	done, err := h.door.take(r.Context(), s)
	if err != nil {
		h.failed(r.Context(), w, s.via, err)
		return
	}
	a := answerTo(done)
	if position := a.header(); position != "" {
		w.Header().Set(positionHeader, position)
	}
	write(w, http.StatusOK, a)
}

// failed answers for what is not certain to be stored: always with a status after which clients retry.
func (h *httpEntrances) failed(ctx context.Context, w http.ResponseWriter, entrance string, err error) {
	a, status := h.door.apology(ctx, entrance, err)
	w.Header().Set("Retry-After", strconv.Itoa(seconds(a.after)))
	write(w, status, a)
}

// apology is what a publisher is told about a failure, and the status that goes with it.
func (d *door) apology(ctx context.Context, entrance string, err error) (answer, int) {
	refusal, ok := errors.AsType[*overload.RefusedError](err)
	if !ok {
		d.logger.WarnContext(ctx, "submission is not stored", "via", entrance, telemetry.KeyError, err)
		return answer{Error: publicText(err), Reason: reasonNotStored, after: d.spread.After(soon)}, http.StatusServiceUnavailable
	}
	d.metrics.overloaded(ctx, entrance, refusal.Reason)
	a := answer{Error: publicText(err), Reason: string(refusal.Reason), after: d.spread.After(refusal.After)}
	a.RetryAfter = a.after.Seconds()
	if refusal.Reason.Ours() {
		return a, http.StatusServiceUnavailable
	}
	return a, http.StatusTooManyRequests
}

// reasonNotStored says that nobody knows whether something is stored.
const reasonNotStored = "NOT_STORED"

// publicText is what a publisher is told about a failure.
func publicText(err error) string {
	if refusal, ok := errors.AsType[*overload.RefusedError](err); ok {
		return "not everything is taken now: " + refusal.Error() + "; send the same again later"
	}
	return "not everything is certain to be stored; send the same again"
}

func fail(w http.ResponseWriter, status int, text string) { write(w, status, answer{Error: text}) }

func write(w http.ResponseWriter, status int, a answer) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(a.encode()) //nolint:gosec // it is JSON, and nosniff
}
