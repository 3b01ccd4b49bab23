package cli

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
)

// timelineWhy is why something did not happen, or until when a wait is on and in which zone its days are counted.
func timelineWhy(e *profilev1.TimelineEntry) string {
	switch {
	case e.GetUntil() == nil:
		return because(e.GetReasons())
	case e.GetZone() == "":
		return "until " + when(e.GetUntil())
	}
	return "until " + when(e.GetUntil()) + ", days of " + e.GetZone()
}

func (a *app) timelineCommand() *cobra.Command {
	limit := uint32(0)
	cmd := &cobra.Command{
		Use:   "timeline CUSTOMER",
		Short: "Show what happened to a customer, in order",
		Long: `timeline shows what every stage noted about a customer: events, proposals, verdicts with their
reasons, deliveries. The ids can be given to explain.`,
		Example: `  refrain timeline ann
  refrain timeline ann --limit 20 -o json`,
		Args: args(1, 1, "a customer"),
		RunE: func(cmd *cobra.Command, given []string) error {
			var res *profilev1.ListTimelineResponse
			if err := a.about(cmd.Context(), given[0], func(ctx context.Context, conn *grpc.ClientConn, id *eventv1.Identifier) (err error) {
				res, err = profilev1.NewProfileServiceClient(conn).ListTimeline(ctx, &profilev1.ListTimelineRequest{Tenant: a.tenant, Identifier: id, Limit: limit})
				return err
			}); err != nil {
				return err
			}
			t := table{head: []string{"AT", "STAGE", "WHAT", "SUBJECT", "CHANNEL", "WHY", "ID"}}
			for _, e := range res.GetEntries() {
				t.row(when(e.GetAt()), e.GetStage(), e.GetWhat(), e.GetSubject(), e.GetChannel(), timelineWhy(e), e.GetId())
			}
			if len(t.rows) == 0 {
				t.linef("nothing happened to this customer")
			}
			return a.print(plain(res), t)
		},
	}
	cmd.Flags().Uint32Var(&limit, "limit", 0, "at most so many lines, the newest; 0 is 100")
	return cmd
}
