package cli

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

func (a *app) deliveriesCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "deliveries CUSTOMER",
		Short:   "Show what was sent to a customer, and what became of it",
		Example: `  refrain deliveries ann`,
		Args:    args(1, 1, "a customer"),
		RunE: func(cmd *cobra.Command, given []string) error {
			var res *dispatchv1.ListDeliveriesResponse
			if err := a.about(cmd.Context(), given[0], func(ctx context.Context, conn *grpc.ClientConn, id *eventv1.Identifier) (err error) {
				res, err = dispatchv1.NewDispatchServiceClient(conn).ListDeliveries(ctx, &dispatchv1.ListDeliveriesRequest{Tenant: a.tenant, Identifier: id})
				return err
			}); err != nil {
				return err
			}
			t := table{head: []string{"AT", "ACTION", "TREATMENT", "CHANNEL", "STATUS", "WHY", "PROPOSAL"}}
			for _, d := range res.GetDeliveries() {
				t.row(when(d.GetAt()), d.GetAction(), d.GetTreatment().GetId(), d.GetTreatment().GetChannel(), short(d.GetStatus()),
					because(d.GetReasons()), d.GetProposal())
			}
			if len(t.rows) == 0 {
				t.linef("nothing was sent to this customer")
			}
			return a.print(plain(res), t)
		},
	}
}
