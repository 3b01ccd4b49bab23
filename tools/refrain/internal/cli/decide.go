package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

func (a *app) decideCommand() *cobra.Command {
	req := &decisionv1.NextBestActionsRequest{}
	why := false
	cmd := &cobra.Command{
		Use:   "decide CUSTOMER PLACEMENT",
		Short: "Ask for the next best actions in a placement",
		Long: `decide asks for the next best actions for a customer in a placement, best first. Asking has no
effect, unless --reserve asks for room under the contact policy. No action at all is an answer too: exit
code 1, and --why says why the others were not chosen. An item's subject and body are filled in for the
customer; where they cannot be, the reason stands in their place. -o json has the body and the token.`,
		Example: `  refrain decide ann web-banner
  refrain decide email:ann@shop.example web-banner --why -o json`,
		Args: args(2, 2, "a customer and a placement"),
		RunE: func(cmd *cobra.Command, given []string) error {
			req.Tenant, req.Placement = a.tenant, given[1]
			var res *decisionv1.NextBestActionsResponse
			if err := a.about(cmd.Context(), given[0], func(ctx context.Context, conn *grpc.ClientConn, id *eventv1.Identifier) (err error) {
				req.Identifier = id
				res, err = decisionv1.NewDecisionServiceClient(conn).NextBestActions(ctx, req)
				return err
			}); err != nil {
				return err
			}
			if err := a.print(plain(res), decisionTable(res, why)); err != nil {
				return err
			}
			if len(res.GetItems()) == 0 {
				return negative("")
			}
			return nil
		},
	}
	cmd.Flags().Uint32Var(&req.Limit, "limit", 0, "at most so many; 0 is what the placement says")
	cmd.Flags().BoolVar(&req.Reserve, "reserve", false, "reserve room under the contact policy first")
	cmd.Flags().BoolVar(&why, "why", false, "list the other candidates with their reasons")
	return cmd
}

func decisionTable(res *decisionv1.NextBestActionsResponse, why bool) table {
	t := table{head: []string{"RANK", "ACTION", "TREATMENT", "CHANNEL", "SUBJECT", "WHY NOT"}}
	t.linef("decision %s, revision %s", res.GetDecision(), res.GetRevision())
	if len(res.GetItems()) == 0 {
		t.linef("no action is best")
	}
	if len(res.GetDegraded()) > 0 {
		t.linef("the answer rests on less than it should: %s", clean(because(res.GetDegraded())))
	}
	for _, i := range res.GetItems() {
		t.row(fmt.Sprint(i.GetRank()), i.GetAction(), i.GetTreatment(), i.GetChannel(), i.GetSubject(), because(i.GetReasons()))
	}
	if why {
		for _, c := range res.GetOthers() {
			t.row("-", c.GetAction(), c.GetTreatment(), c.GetChannel(), "", because(c.GetReasons()))
		}
	}
	return t
}
