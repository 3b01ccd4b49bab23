package shop

import (
	"context"
	"fmt"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/membership"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/simulate"
)

const (
	// leaseTTL and leaseHold are short, so that partitions move several times in a run.
	leaseTTL  = 8 * time.Second
	leaseHold = 4 * time.Second
	// leaveWithin bounds the good-bye.
	leaveWithin = 2 * time.Second
)

// share makes the replica's part in sharing the partitions of its service, as package run does.
func (m *mesh) share(p *simulate.Process, service string, deps *run.Deps) (*membership.Group, error) {
	name := p.Node().Name()
	g, err := membership.New(membership.Config{
		Service: service, Generation: m.gen.Number, Partitions: m.gen.Partitions, Replica: name, Incarnation: p.Name(), Address: name,
		TTL: leaseTTL, Hold: leaseHold,
	}, membership.Ports{Leases: p.Leases(), Clock: p.Clock(), Logger: deps.Logger, Meter: metricnoop.NewMeterProvider()})
	if err != nil {
		return nil, fmt.Errorf("share partitions: %w", err)
	}
	deps.Ownership, deps.Locate, deps.Timely = g, g.Locate, run.Timely(g)
	return g, nil
}

// together runs a component beside its membership, in the order in which package run starts and stops them.
func together(p *simulate.Process, g *membership.Group, c run.Component) error {
	ctx := p.Context()
	if err := g.Join(ctx); err != nil {
		return nil //nolint:nilerr // told to stop before it began
	}
	sharing, stop := context.WithCancel(context.WithoutCancel(ctx))
	running := clock.NewGroup(p.Clock(), 0)
	running.Go(func() error { return g.Run(sharing) })
	p.Go(func() {
		_, _ = p.Clock().Wait(ctx, clock.Forever, sharing.Done())
		g.Leaving()
	})
	err := c.Run(ctx)
	within, cancel := p.Clock().Within(context.WithoutCancel(ctx), leaveWithin)
	_ = g.Leave(within)
	cancel()
	stop()
	_ = running.Wait(context.WithoutCancel(ctx))
	return err //nolint:wrapcheck // the process says it
}
