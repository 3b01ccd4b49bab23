package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/log"
	"refrain.dev/tools/ledger"
)

// errFound ends a walk.
var errFound = errors.New("found")

// findCustomer walks the ACTIONS chains until it meets an id of a proposal, decision or enrollment, and
// returns whose it is. No service does that: it reads everything.
func (a *app) findCustomer(ctx context.Context, id string) (*eventv1.Identifier, error) {
	customer := ""
	err := a.withSite(ctx, func(site log.Site, gen log.Generation) error {
		for p := range gen.Partitions {
			_, err := ledger.Walk(ctx, site, log.Subject(log.Stage("decision").Chain, p), func(_ uint64, _ *stagev1.Record, cells []ledger.Cell) error {
				for _, c := range cells {
					if speaksOf(c.Body, id) {
						customer = c.Key[strings.LastIndexByte(c.Key, '/')+1:]
						return errFound
					}
				}
				return nil
			})
			if errors.Is(err, errFound) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("search for %s: %w", id, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if customer == "" {
		return nil, negative("no proposal, decision or enrollment %s is in the log", clean(id))
	}
	return &eventv1.Identifier{Kind: event.KindProfile, Value: customer}, nil
}

// speaksOf says whether a cell of ACTIONS brings an id into being.
func speaksOf(body *stagev1.CellBody, id string) bool {
	for _, data := range body.GetFacts() {
		f := &decisionv1.Fact{}
		if f.UnmarshalVT(data) != nil {
			continue
		}
		if f.GetProposalMade().GetProposal().GetId() == id || f.GetDecisionMade().GetId() == id || f.GetEnrollmentStarted().GetEnrollment() == id {
			return true
		}
	}
	return false
}
