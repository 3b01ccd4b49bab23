package run

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"os"

	"refrain.dev/pkg/membership"
	"refrain.dev/pkg/stage"
)

// membershipName is the component whose readiness is being a member.
const membershipName = "membership"

// shares says whether this process shares the partitions of its stage with other replicas.
func (p *process) shares() bool { return p.cfg.Partitions == auto && !p.settings.stateless }

// share makes the group of replicas that this process will join, and lets the service follow it.
func (p *process) share(deps *Deps, listener net.Listener) (*membership.Group, error) {
	address := ""
	if listener != nil {
		address = advertised(p.cfg.Advertise, listener.Addr(), deps.NATS.GetClientIP)
	}
	g, err := membership.New(membership.Config{
		Service: p.name, Generation: deps.Generation.Number, Partitions: deps.Generation.Partitions,
		Replica: p.cfg.Replica, Incarnation: incarnation(), Address: address,
		TTL: p.cfg.MembershipTTL.Std(), Hold: p.cfg.MembershipHold.Std(),
	}, membership.Ports{
		Leases: p.leases, Clock: deps.Clock, Logger: p.logger, Meter: p.telemetry.Meter,
		Ready: func(ready bool) { p.health.Set(membershipName, ready) },
	})
	if err != nil {
		return nil, err
	}
	deps.Ownership, deps.Locate, deps.Timely = g, g.Locate, Timely(g)
	return g, nil
}

// Timely lets a replica stand by while its clock is proven wrong.
func Timely(g *membership.Group) func(ok bool) {
	return func(ok bool) {
		if ok {
			g.Able()
			return
		}
		g.Standby()
	}
}

// join waits until this process is a member. When it is told to stop it owns nothing from then on, so that the
// others begin to take over while it drains; when it has, it leaves.
func (p *process) join(ctx context.Context, g *membership.Group) {
	p.stack.Push(membershipName, g.Leave)
	_ = g.Join(ctx) // fails only with ctx, and then everything stops
	context.AfterFunc(ctx, g.Leaving)
}

// incarnation is unlike that of any other process.
func incarnation() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it does not fail
	return hex.EncodeToString(b[:])
}

// advertised is where others reach the gRPC server: what is set, with the port that it listens on if none is
// set, else where it listens. One that listens on all interfaces is reached at the address that this machine
// has towards NATS, or, if NATS does not tell, at the machine's name.
func advertised(set string, listening net.Addr, seen func() (net.IP, error)) string {
	host, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return set
	}
	if _, _, err := net.SplitHostPort(set); err == nil {
		return set
	}
	if set != "" {
		return net.JoinHostPort(set, port)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
		return listening.String()
	}
	if ip, err := seen(); err == nil && ip != nil {
		return net.JoinHostPort(ip.String(), port)
	}
	name, _ := os.Hostname()
	return net.JoinHostPort(cmp.Or(name, "localhost"), port)
}

var _ stage.Ownership = (*membership.Group)(nil)
