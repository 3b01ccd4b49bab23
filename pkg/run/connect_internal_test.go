package run

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// leaderless is a site whose streams have no leader for the first few questions.
type leaderless struct {
	*log.Memory

	left int
}

func (l *leaderless) Stream(ctx context.Context, name string) (log.StreamConfig, error) {
	if l.left > 0 {
		l.left--
		return log.StreamConfig{}, log.ErrUnknown
	}
	return l.Memory.Stream(ctx, name)
}

func TestAProcessWaitsForStreamsWithoutALeader(t *testing.T) {
	site := &leaderless{Memory: log.NewMemory()}
	gen, err := log.Provision(t.Context(), site, log.Generation{Number: 1, Partitions: 1, Streams: 1, Replicas: 1}, log.ProvisionConfig{Owner: "test"})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{logger: slog.New(slog.DiscardHandler)}
	site.left = 1
	if err := p.assert(t.Context(), site, gen); err != nil || site.left != 0 {
		t.Errorf("got %v", err)
	}
	other := gen
	other.Partitions = 2
	if err := p.assert(t.Context(), site, other); fault.Of(err) != fault.Invalid {
		t.Errorf("streams of another generation: got %v", err)
	}
	site.left = 1
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.assert(ctx, site, gen); !errors.Is(err, context.Canceled) {
		t.Errorf("told to stop: got %v", err)
	}
}
