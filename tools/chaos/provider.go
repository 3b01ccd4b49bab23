//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"refrain.dev/pkg/embed/faultproxy"
	"refrain.dev/tools/internal/fleet"
	"refrain.dev/tools/ledger"
)

const (
	// secretEnv names the variable with the secret that requests are signed with.
	secretEnv = "CHAOS_WEBHOOK_SECRET"
	secret    = "a secret of the chaos test" //nolint:gosec // nothing behind it
	// timeout is that of the channels; what takes longer is not waited for.
	timeout = time.Second
)

// provider is the other end of the webhook channels. It writes down every request and what it made of it before
// it answers, and does not always tell the truth.
type provider struct {
	// door is in front of it: what is broken there never reaches it.
	door     *faultproxy.Proxy
	server   *http.Server
	verifier *standardwebhooks.Webhook
	lies     float64
	tally    *tally
	// reported gets the tokens of accepted messages, for receipts; what it has no room for is dropped.
	reported chan delivered
	ended    chan struct{}
	done     context.Context //nolint:containedctx // of the server: ends what hangs
	stop     context.CancelFunc

	mu     sync.Mutex
	random *rand.Rand
	log    *ledger.Recorder
	storm  storm
	made   int
	bad    []string
}

// delivered is one message that was accepted.
type delivered struct{ channel, token string }

// storm is a time in which all requests are answered alike.
type storm struct {
	lie   lie
	until time.Time
}

func (w *world) startProvider(ctx context.Context) error {
	p := &provider{
		lies: w.plan.lies, tally: w.tally, random: w.random(partProvider),
		reported: make(chan delivered, 1000), ended: make(chan struct{}),
	}
	w.provider = p
	p.done, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	if p.log, err = ledger.OpenRecorder(w.path("received.jsonl")); err != nil {
		return err
	}
	if p.verifier, err = standardwebhooks.NewWebhookRaw([]byte(secret)); err != nil {
		return fmt.Errorf("make a verifier: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for webhooks: %w", err)
	}
	if p.door, err = faultproxy.Listen(l.Addr().String()); err != nil {
		return err
	}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() {
		defer close(p.ended)
		_ = p.server.Serve(l) // it ends when it is closed
	}()
	return nil
}

// ServeHTTP implements http.Handler.
func (p *provider) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	started, what := time.Now(), p.choose()
	id := req.Header.Get(standardwebhooks.HeaderWebhookID)
	if what == resetUnread {
		p.write(ledger.Request{Proposal: id, Key: id, Started: started})
		cutOff(w)
		return
	}
	data, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		p.tally.add("provider: requests cut off", 1)
		return // its sender was killed before all of it was here
	}
	var body struct {
		Data struct {
			ledger.Request

			Token string `json:"token"`
		} `json:"data"`
	}
	err = json.Unmarshal(data, &body)
	if err != nil || p.verifier.Verify(data, req.Header) != nil || body.Data.Proposal != id {
		p.wrong(fmt.Sprintf("webhook %s is about proposal %q or not signed: %v", id, body.Data.Proposal, err))
	}
	line := body.Data.Request
	line.Key, line.Started, line.Accepted, line.Refused = id, started, what.accepts(), what.refuses()
	if line.Accepted {
		line.Message = p.message()
		p.report(delivered{line.Channel, body.Data.Token})
	}
	p.write(line)
	p.tally.add("provider: "+what.String(), 1)
	what.answer(p.done, w, line.Message)
}

// choose picks how to answer the next request.
func (p *provider) choose() lie {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Now().Before(p.storm.until) {
		return p.storm.lie
	}
	if p.random.Float64() >= p.lies {
		return truth
	}
	return 1 + lie(p.random.IntN(int(lies)-1))
}

// storms lets all requests be refused or fail for some time, now and then.
func (w *world) storms(ctx context.Context) {
	random, p := w.random(partStorms), w.provider
	for ctx.Err() == nil {
		fleet.Pause(ctx, between(random, 10*time.Second, 30*time.Second))
		what := []lie{busy, unavailable}[random.IntN(2)]
		p.mu.Lock()
		p.storm = storm{what, time.Now().Add(between(random, time.Second, 4*time.Second))}
		p.mu.Unlock()
		w.tally.add("provider storms", 1)
	}
}

// calm lets the provider tell the truth from now on.
func (p *provider) calm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lies, p.storm = 0, storm{}
	p.door.Restore()
}

func (p *provider) message() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made++
	return fmt.Sprint("m-", p.made)
}

func (p *provider) write(line ledger.Request) {
	if err := p.log.Received(line); err != nil {
		p.wrong(err.Error())
	}
}

func (p *provider) wrong(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bad = append(p.bad, what)
}

func (p *provider) report(d delivered) {
	if d.token == "" {
		return
	}
	select {
	case p.reported <- d:
	default:
	}
}

func (p *provider) close() error {
	p.stop()
	if p.server == nil {
		return nil
	}
	err := p.server.Close()
	<-p.ended
	if e := p.door.Close(); err == nil {
		err = e
	}
	if e := p.log.Close(); err == nil {
		err = e
	}
	return err
}
