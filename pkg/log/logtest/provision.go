package logtest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

func provisionTwice(t *testing.T, s suite) {
	site := provisioned(t, s)
	for _, spec := range log.Stages() {
		for p := range partitions {
			m := last(t, site, log.Subject(spec.Chain, p))
			record := &stagev1.Record{}
			if err := record.UnmarshalVT(m.Data); err != nil || record.GetKind() != stagev1.RecordKind_RECORD_KIND_GENESIS {
				t.Fatalf("%s begins with %v (%v), want a genesis", m.Subject, record, err)
			}
			mustAppend(t, site, m.Subject, m.Sequence, "work")
		}
	}
	gen := s.generation()
	gen.Secret = nil
	stored, err := log.Provision(t.Context(), site, gen, log.ProvisionConfig{})
	if err != nil || string(stored.Secret) != string(s.generation().Secret) {
		t.Fatalf("again: %v, secret %q", err, stored.Secret)
	}
	if m := last(t, site, "prf.0"); string(m.Data) != "work" {
		t.Fatalf("provisioning again touched the chain: %q", m.Data)
	}
	found, err := log.LoadGeneration(t.Context(), site.KV())
	if err != nil || found.Partitions != partitions || found.Number != 1 {
		t.Fatalf("load: %+v, %v", found, err)
	}
	if err := log.Assert(t.Context(), site, found); err != nil {
		t.Fatalf("assert: %v", err)
	}
	provisionAnew(t, site, gen)
	gen.Partitions = 8
	if _, err := log.Provision(t.Context(), site, gen, log.ProvisionConfig{}); err == nil || !strings.Contains(err.Error(), "partitions is 4, want 8") {
		t.Fatalf("another number of partitions: got %v, want it refused", err)
	}
}

// provisionAnew deletes a stream behind the provisioner's back, and makes it again.
func provisionAnew(t *testing.T, site log.Site, gen log.Generation) {
	t.Helper()
	found, err := log.LoadGeneration(t.Context(), site.KV())
	if err != nil || len(found.Made) == 0 {
		t.Fatalf("load: the streams' identities are not recorded: %+v, %v", found, err)
	}
	name, subject := "EVENTS-g1-0", "evt.live.0"
	if use, err := site.Usage(t.Context(), subject); err != nil || found.Anew(subject, use) != nil {
		t.Fatalf("a stream that is as it was: %v, %v", err, found.Anew(subject, use))
	}
	refused := func(what string, accept ...string) {
		t.Helper()
		_, err := log.Provision(t.Context(), site, gen, log.ProvisionConfig{Accept: accept})
		anew, ok := errors.AsType[*log.AnewError](err)
		if !ok || anew.Stream != name || fault.Of(err) != fault.Conflict {
			t.Fatalf("provision again, %s: got %v, want an AnewError of %s", what, err, name)
		}
	}
	cfg, err := site.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := site.DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	refused("a stream is gone")
	refused("a stream that is gone is accepted", name)
	if err := site.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	use, err := site.Usage(t.Context(), subject)
	if err != nil || !errors.Is(found.Anew(subject, use), log.ErrLogLostData) {
		t.Fatalf("a stream that was made anew: %v, %v", err, found.Anew(subject, use))
	}
	refused("a stream is another")
	if _, err := log.Provision(t.Context(), site, gen, log.ProvisionConfig{Accept: []string{"NOBODY"}}); fault.Of(err) != fault.Invalid {
		t.Fatalf("accept a stream that is none: %v", err)
	}
	now, err := log.Provision(t.Context(), site, gen, log.ProvisionConfig{Accept: []string{name}})
	if err != nil || now.Anew(subject, use) != nil {
		t.Fatalf("accepted: %v, %v", err, now.Anew(subject, use))
	}
	if _, err := log.Provision(t.Context(), site, gen, log.ProvisionConfig{}); err != nil {
		t.Fatalf("after it was accepted: %v", err)
	}
}

func provisionRace(t *testing.T, s suite) {
	site := s.open(t)
	var mu sync.Mutex
	secrets := map[string]bool{}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			gen := s.generation()
			gen.Secret = nil
			got, err := log.Provision(t.Context(), site, gen, log.ProvisionConfig{MaxBytes: maxBytes})
			if err != nil {
				t.Errorf("provision: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			secrets[string(got.Secret)] = true
		})
	}
	all.Wait()
	if len(secrets) != 1 {
		t.Fatalf("%d provisioners think that they made it, want 1", len(secrets))
	}
	u, err := site.Usage(t.Context(), "prf.1")
	if err != nil || u.Messages != partitions/2 {
		t.Fatalf("stream of prf.1 has %d messages (%v), want a genesis for each of %d chains", u.Messages, err, partitions/2)
	}
}

// A provisioner that died half-way leaves streams, perhaps with a genesis, and a lock whose lease runs out.
func provisionAgain(t *testing.T, s suite) {
	site := s.open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := log.LoadGeneration(ctx, site.KV()); err == nil {
		t.Fatal("loaded a generation where there is none")
	}
	failing := half{Site: site, after: 3}
	_, err := log.Provision(t.Context(), &failing, s.generation(), log.ProvisionConfig{MaxBytes: maxBytes})
	if err == nil {
		t.Fatal("provisioning succeeded without all genesis records")
	}
	if _, err := log.FindGeneration(t.Context(), site.KV()); err == nil {
		t.Fatal("a generation that is half there is ready")
	}
	if _, err := log.Provision(t.Context(), site, s.generation(), log.ProvisionConfig{MaxBytes: maxBytes}); err != nil {
		t.Fatalf("provision again: %v", err)
	}
	if err := log.Assert(t.Context(), site, s.generation()); err != nil {
		t.Fatalf("assert: %v", err)
	}
	for p := range partitions {
		if m := last(t, site, log.Subject("snd", p)); m.Sequence != uint64(p/2)+1 {
			t.Errorf("genesis of snd.%d is at %d, want %d", p, m.Sequence, p/2+1)
		}
	}
}

// half fails after some genesis records, for ever.
type half struct {
	log.Site
	after int
}

// Begin implements log.Site.
func (h *half) Begin(ctx context.Context, subject string, position uint64, data []byte) error {
	h.after--
	if h.after < 0 {
		return context.DeadlineExceeded
	}
	return h.Site.Begin(ctx, subject, position, data)
}

func assertDrift(t *testing.T, s suite) {
	site := provisioned(t, s)
	cfg, err := site.Stream(t.Context(), "PROFILES-g1-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"PROFILES-g1-1", "BOXES-g1-0"} {
		if err := site.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	cfg.MaxAge = time.Hour
	cfg.DiscardNew = false
	if err := site.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	err = log.Assert(t.Context(), site, s.generation())
	if err == nil {
		t.Fatal("assert found nothing")
	}
	for _, want := range []string{
		"PROFILES-g1-1: max_age is 1h0m0s, want 0s", "PROFILES-g1-1: discard new is false, want true", "BOXES-g1-0: it is missing",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}
