package shop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/simulate/schedule"
	"refrain.dev/pkg/source"
)

// retried calls until the answer does not pass, at most for a while: then nobody knows, which is an answer too.
func (c *client) retried(ctx context.Context, call func(ctx context.Context, try int) error) error {
	for n := 0; ; n++ {
		within, cancel := c.p.Clock().Within(ctx, 3*time.Second)
		err := call(within, n)
		cancel()
		if err == nil || !passes(err) || n == 8 {
			return err
		}
		if err := c.p.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err //nolint:wrapcheck // the end
		}
	}
}

// reserve takes room for a contact of the client's own, and uses it or gives it back.
func (c *client) reserve(ctx context.Context, a arguments) error {
	id := fmt.Sprintf("reservation-%d-%04d", c.number, a.number("id"))
	var res *contactv1.ReserveResponse
	err := c.retried(ctx, func(ctx context.Context, try int) (err error) {
		res, err = c.contact(try).Reserve(ctx, &contactv1.ReserveRequest{
			Tenant: a.tenant(), Id: id, Identifier: user(a.number("customer")),
			Contact: &contactv1.Contact{Action: "own-call", Channel: "email", Purpose: "marketing", Topic: "news"},
		})
		return err
	})
	if err != nil || res.GetKind() != contactv1.VerdictKind_VERDICT_KIND_APPROVED {
		return c.surprising(err)
	}
	c.world.Reach("reserved")
	c.reserved = append(c.reserved, id)
	switch a["then"] {
	case "commit":
		err = c.retried(ctx, func(ctx context.Context, try int) error {
			_, err := c.contact(try).Commit(ctx, &contactv1.CommitRequest{Tenant: a.tenant(), Id: id, Identifier: user(a.number("customer"))})
			return err
		})
	case "release":
		err = c.retried(ctx, func(ctx context.Context, try int) error {
			_, err := c.contact(try).Release(ctx, &contactv1.ReleaseRequest{Tenant: a.tenant(), Id: id, Identifier: user(a.number("customer"))})
			return err
		})
	}
	return c.surprising(err)
}

func (c *client) contact(try int) contactv1.ContactServiceClient {
	return contactv1.NewContactServiceClient(c.p.Dial(replica("suppression", (c.number+try)%replicas)))
}

// ask is what a channel app asks: it must always be answered, if anybody is there.
func (c *client) ask(ctx context.Context, a arguments) error {
	return c.surprising(c.retried(ctx, func(ctx context.Context, try int) error {
		res, err := decisionv1.NewDecisionServiceClient(c.p.Dial(replica("decision", (c.number+try)%replicas))).
			NextBestActions(ctx, &decisionv1.NextBestActionsRequest{
				Tenant: a.tenant(), Identifier: user(a.number("customer")), Placement: "banner", Reserve: a["reserve"] == "true",
			})
		if err == nil && len(res.GetDegraded()) > 0 {
			c.world.Reach("degraded answer")
		}
		return err
	}))
}

// redrive sends back every dead letter that can be.
func (c *client) redrive(ctx context.Context) error {
	operator := func(try int) dispatchv1.DispatchServiceClient {
		return dispatchv1.NewDispatchServiceClient(c.p.Dial(replica("dispatch", (c.number+try)%replicas)))
	}
	var page *dispatchv1.ListDeadLettersResponse
	err := c.retried(ctx, func(ctx context.Context, try int) (err error) {
		page, err = operator(try).ListDeadLetters(ctx, &dispatchv1.ListDeadLettersRequest{Limit: 1000})
		return err
	})
	for _, l := range page.GetDeadLetters() {
		if l.GetStage() == "ingest" {
			continue
		}
		err = errors.Join(err, c.retried(ctx, func(ctx context.Context, try int) error {
			_, err := operator(try).RedriveDeadLetter(ctx, &dispatchv1.RedriveDeadLetterRequest{Id: l.GetId()})
			return err
		}))
		if strings.Contains(l.GetWhy(), "process ended") {
			c.world.Reach("redriven " + l.GetStage())
		}
	}
	return err
}

// surprising keeps the errors that no fault explains.
func (c *client) surprising(err error) error {
	switch status.Code(err) {
	case codes.Internal:
		if slices.ContainsFunc(c.schedule.Faults, func(f schedule.Fault) bool { return f.What == schedule.Panic }) {
			return nil // it asked about the customer for whom the fold panics
		}
		return err
	case codes.InvalidArgument:
		if strings.Contains(err.Error(), "its process ended") {
			return nil // processes died of it, or while it was tried: it is not tried again
		}
		return err
	case codes.OK, codes.NotFound, codes.FailedPrecondition, codes.Aborted:
		return nil
	default:
		if passes(err) {
			return nil
		}
		return err
	}
}

// garbage is what somebody with access to the broker, and nothing better to do, stores in a lane.
func (c *client) garbage(ctx context.Context, partition int) error {
	for range 20 {
		if _, err := c.p.Broker().Publish(ctx, log.Subject(log.Lane(log.LaneLive), partition), []byte("garbage")); err == nil {
			c.world.Reach("garbage")
			return nil
		}
		if err := c.p.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err //nolint:wrapcheck // the end
		}
	}
	return nil
}

// apply lets one of a tenant's catalogs take effect, in the middle of everything.
func (c *client) apply(ctx context.Context, tenant string, n int) error {
	all := c.bundlesOf(tenant)
	if len(all) == 0 {
		return nil // a case may be tried where there is no second tenant
	}
	b := all[n%len(all)]
	for range 20 {
		err := source.Put(ctx, store(c.p), b.stored()) // it may have been removed
		if err == nil {
			err = source.Activate(ctx, store(c.p), c.p.Broker(), partitions, b.revision, c.world.Now())
		}
		if err == nil {
			c.world.Reach("catalog applied")
			c.appliedFor(tenant, b)
			return nil
		}
		if err := c.p.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err //nolint:wrapcheck // the end
		}
	}
	return nil
}
