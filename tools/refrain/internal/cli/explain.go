package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

func (a *app) explainCommand() *cobra.Command {
	customer, placement := "", ""
	cmd := &cobra.Command{
		Use:   "explain [ID]",
		Short: "Say why something happened, or did not",
		Long: `explain says everything that is known about a decision or a proposal: each candidate with its score
or its reasons, and the course of the proposal through all stages. Without an ID it decides a placement
for a customer now, without any effect, and runs all gates.

An id does not say where its customer lives. Without --customer the ACTIONS chains are searched for it, from
their beginning, over --nats.`,
		Example: `  refrain explain 6f1c9b0e5a7d4c22
  refrain explain 6f1c9b0e5a7d4c22 --customer ann
  refrain explain --customer ann --placement web-banner`,
		Args: args(0, 1, "an id, or none with --customer and --placement"),
		RunE: func(cmd *cobra.Command, given []string) error {
			req := &decisionv1.ExplainRequest{Tenant: a.tenant, Placement: placement}
			if len(given) == 1 {
				req.Id = given[0]
			} else if customer == "" || placement == "" {
				return usage("want an id, or --customer and --placement")
			}
			whose := customer
			if whose == "" {
				id, err := a.findCustomer(cmd.Context(), req.GetId())
				if err != nil {
					return err
				}
				whose = id.GetKind() + ":" + id.GetValue()
			}
			var res *decisionv1.ExplainResponse
			if err := a.about(cmd.Context(), whose, func(ctx context.Context, conn *grpc.ClientConn, id *eventv1.Identifier) (err error) {
				req.Identifier = id
				res, err = decisionv1.NewDecisionServiceClient(conn).Explain(ctx, req)
				return err
			}); err != nil {
				return err
			}
			return a.print(plain(res), explainTable(res))
		},
	}
	cmd.Flags().StringVar(&customer, "customer", "", "the customer, kind:value")
	cmd.Flags().StringVar(&placement, "placement", "", "the placement to decide now")
	return cmd
}

func explainTable(res *decisionv1.ExplainResponse) table {
	t := table{}
	if d := res.GetDecision(); d != nil {
		t.linef("decision %s in %s, revision %s", d.GetId(), d.GetPlacement(), res.GetRevision())
		t.head = []string{"RANK", "ACTION", "CHANNEL", "SCORE", "CHOSEN", "WHY NOT"}
		for _, c := range d.GetCandidates() {
			rank, chosen, score := "-", "", ""
			if c.GetRank() > 0 {
				rank = fmt.Sprint(c.GetRank())
			}
			if c.GetChosen() {
				chosen = "yes"
			}
			if c.GetScore() != nil {
				score = fmt.Sprintf("%.3f", c.GetScore().GetTotal())
			}
			t.row(rank, c.GetAction(), c.GetChannel(), score, chosen, because(c.GetReasons()))
		}
	}
	if len(res.GetCourse()) > 0 {
		if t.rows != nil {
			t.row()
		}
		course := []string{"AT", "STAGE", "WHAT", "CHANNEL", "WHY", "REVISION"}
		if t.head == nil {
			t.head = course
		} else {
			t.row(course...)
		}
		for _, e := range res.GetCourse() {
			t.row(when(e.GetAt()), e.GetStage(), e.GetWhat(), e.GetChannel(), because(e.GetReasons()), e.GetRevision())
		}
	}
	if len(t.rows) == 0 {
		t.linef("nothing is known about it")
	}
	return t
}
