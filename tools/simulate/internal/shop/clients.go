package shop

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/simulate"
	"refrain.dev/pkg/simulate/schedule"
	"refrain.dev/tools/ledger"
)

// client is one publisher and caller, on a node of its own.
type client struct {
	*mesh

	p      *simulate.Process
	number int
	doing  string // the operation under way, for people
	done   bool
}

// startClients starts every client and the providers' callbacks.
func (m *mesh) startClients() {
	for n := range clients {
		c := &client{mesh: m, number: n}
		m.clients = append(m.clients, c)
		m.world.Node(fmt.Sprintf("client-%d", n), simulate.NodeConfig{RestartAfter: -1}).Start(func(p *simulate.Process) error {
			c.p = p
			return c.work(p.Context())
		})
	}
	m.desk.startCallbacks()
}

func (m *mesh) clientsDone() bool {
	for _, c := range m.clients {
		if !c.done {
			return false
		}
	}
	return m.desk.idle()
}

// waiting says what the clients are at.
func (m *mesh) waiting() string {
	var all []string
	for _, c := range m.clients {
		if !c.done {
			all = append(all, fmt.Sprintf("client %d: %s", c.number, c.doing))
		}
	}
	return strings.Join(all, "; ")
}

// work does the operations in order, each not before its time.
func (c *client) work(ctx context.Context) error {
	for _, o := range c.world.Operations(c.number) {
		if wait := o.At - c.world.Elapsed(); wait > 0 {
			if err := c.p.Sleep(ctx, wait); err != nil {
				return err //nolint:wrapcheck // the end
			}
		}
		c.doing = o.Do
		if err := c.do(ctx, o); err != nil {
			c.world.Violate(simulate.RuleScenario, fmt.Sprintf("client %d: %s: %v", c.number, o.Do, err))
			return err
		}
	}
	c.done = true
	return nil
}

// do does one operation.
func (c *client) do(ctx context.Context, o schedule.Operation) error {
	verb, args, err := parse(o.Do)
	if err != nil {
		return err
	}
	switch verb {
	case "identify":
		return c.publishAll(ctx, args, c.identify)
	case "consent":
		return c.publishAll(ctx, args, c.consent)
	case "order":
		return c.publishAll(ctx, args, func(a arguments) *eventv1.Event { return c.ordered(a, a.number("order")) })
	case "burst":
		for n := range args.number("count") {
			if err := c.publish(ctx, c.ordered(args, args.number("order")*100+n), ""); err != nil {
				return err
			}
		}
		return nil
	case "callback":
		return c.publishAll(ctx, args, c.callback)
	case "visit":
		return c.publish(ctx, c.event(eventv1.Kind_KIND_TRACK, "product_viewed", device(args.number("device"))), "")
	case "alias":
		return c.publish(ctx, c.alias(args), "")
	case "cancel":
		return c.publish(ctx, c.cancelled(args), "")
	case "link":
		return c.publish(ctx, c.linked(args), "")
	case "share":
		return c.publish(ctx, c.shared(args), "")
	case "browse":
		return c.publish(ctx, c.browsed(args), "")
	case "reserve":
		return c.reserve(ctx, args)
	case "ask":
		return c.ask(ctx, args)
	case "garbage":
		return c.garbage(ctx, args.number("partition"))
	case "redrive":
		return c.surprising(c.redrive(ctx))
	case "apply":
		return c.apply(ctx, args.tenant(), args.number("revision"))
	}
	return fmt.Errorf("no operation %q", verb)
}

// giveUp is how long a client tries before it says that it cannot.
const giveUp = 3 * time.Minute

// publish sends an event until it is acknowledged, to one replica of ingest and then the other.
func (c *client) publish(ctx context.Context, e *eventv1.Event, lane string) error {
	line := c.note(e)
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+writeKey(e.GetTenant()))
	if lane == "bulk" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-refrain-lane", lane)
	}
	until := c.world.Elapsed() + giveUp
	for n := c.number; ; n++ {
		within, cancel := c.p.Clock().Within(ctx, 3*time.Second)
		res, err := eventv1.NewIngestServiceClient(c.p.Dial(replica("ingest", n%replicas))).
			PublishEvents(within, &eventv1.PublishEventsRequest{Events: []*eventv1.Event{e.CloneVT()}})
		cancel()
		switch {
		case err == nil && res.GetResults()[0].GetRefusal() != nil && nobodys(e):
			c.world.Reach("national number without a region")
			return nil
		case err == nil && nobodys(e):
			return fmt.Errorf("event %s is about %s, which is nobody's number, and was taken", e.GetId(), e.GetIdentifiers()[0].GetValue())
		case err == nil && res.GetResults()[0].GetRefusal() != nil && removable(e):
			return nil // a permission is for what is defined, and the tenant's definitions are removed
		case err == nil && res.GetResults()[0].GetRefusal() != nil:
			return fmt.Errorf("event %s was refused: %s", e.GetId(), res.GetResults()[0].GetRefusal().GetWhy())
		case err == nil:
			at := res.GetResults()[0].GetPosition()
			line.Acknowledged = c.world.Now()
			line.Position = &ledger.Position{Partition: int(at.GetPartition()), Lane: at.GetLane(), Sequence: at.GetSequence()}
			return nil
		case !passes(err):
			return fmt.Errorf("publish %s: %w", e.GetId(), err)
		case c.world.Elapsed() > until:
			return fmt.Errorf("publish %s: still not after %s: %w", e.GetId(), giveUp, err)
		}
		if err := c.p.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err //nolint:wrapcheck // the end
		}
	}
}

// passes says whether an error may be gone at the next try.
func passes(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Canceled, codes.Aborted:
		return true
	default:
		return false
	}
}

// note writes an event into the client's log before it is sent for the first time.
func (m *mesh) note(e *eventv1.Event) *ledger.Sent {
	line := &ledger.Sent{ID: e.GetId(), Tenant: e.GetTenant(), Kind: e.GetType()}
	for _, id := range e.GetIdentifiers() {
		line.Identifiers = append(line.Identifiers, id.GetKind()+":"+id.GetValue())
	}
	if c := e.GetConsent(); c.GetState() == eventv1.ConsentState_CONSENT_STATE_WITHDRAWN {
		line.OptOut = &ledger.OptOut{Channel: c.GetChannel(), Topic: c.GetTopic()}
	}
	m.sent = append(m.sent, line)
	return line
}

// event is one with an id of its own, about a customer by some identifiers.
func (c *client) event(kind eventv1.Kind, what string, ids ...*eventv1.Identifier) *eventv1.Event {
	if c.number == 1 { // one client writes addresses as people do
		for _, id := range ids {
			if id.GetKind() == "email" {
				id.Value = strings.ReplaceAll(strings.Replace(id.GetValue(), "user", "User", 1), "shop.example", "Shop.EXAMPLE")
			}
		}
	}
	return &eventv1.Event{
		Id: fmt.Sprintf("c%d-%04d", c.number, len(c.sent)), Tenant: firstTenant, Type: what, Kind: kind,
		At: timestamppb.New(c.world.Now()), Identifiers: ids,
	}
}
