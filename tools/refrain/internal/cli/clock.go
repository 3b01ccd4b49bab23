package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"
)

func (a *app) clockCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clock",
		Short: "Look at the replay clock, advance it, or end it; mend chains that are ahead of the time",
		Long: `A mesh started with --clock replay lives in the time of its events: one instant after another is
released to all stages, and after the last event it stands still until it is advanced. Events of the newest instant wait
for that, too, since more of them may come: 'refrain publish' advances the clock to the newest event at its end.`,
		Example: `  refrain clock get
  refrain clock advance P90D
  refrain clock wall
  refrain clock mend --dry-run`,
		RunE: func(*cobra.Command, []string) error { return usage("want get, advance, wall or mend") },
	}
	cmd.AddCommand(a.clockGet(), a.clockAdvance(), a.clockWall(), a.clockMend())
	return cmd
}

func (a *app) clockGet() *cobra.Command {
	return &cobra.Command{
		Use:   "get",
		Short: "Say where the clock stands",
		Args:  args(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.clock(cmd.Context(), func(ctx context.Context, c stagev1.ClockServiceClient, t *table) (proto.Message, error) {
				res, err := c.GetClock(ctx, &stagev1.GetClockRequest{})
				t.row("mode", short(res.GetMode()))
				t.row("now", when(res.GetNow()))
				t.row("until", when(res.GetUntil()))
				t.row("settled", yes(res.GetSettled()))
				for _, open := range res.GetOpen() {
					t.row("open", open)
				}
				return res, err
			})
		},
	}
}

func (a *app) clockAdvance() *cobra.Command {
	settle := time.Duration(0)
	cmd := &cobra.Command{
		Use:   "advance PERIOD",
		Short: "Let the clock run on past the last event, and wait until all is settled",
		Long: `advance lets the replay clock run on by an ISO 8601 duration, from the greatest of the clock, the newest event and the
last advance, and waits until every wait and every call up to then has ended and led to what follows from it. PT0S
applies the newest events. If that takes longer than --settle allows, the exit code is 2 and the error says what is open;
the mesh goes on.`,
		Example: `  refrain clock advance P90D
  refrain clock advance PT0S`,
		Args: args(1, 1, "an ISO 8601 duration such as P90D"),
		RunE: func(cmd *cobra.Command, given []string) error {
			res, err := a.advance(cmd.Context(), given[0], settle)
			if err != nil {
				return err
			}
			var t table
			t.linef("all is settled up to %s", when(res.GetUntil()))
			return a.print(plain(res), t)
		},
	}
	settleFlag(cmd, &settle)
	return cmd
}

func (a *app) clockWall() *cobra.Command {
	return &cobra.Command{
		Use:   "wall",
		Short: "End the replay clock for good",
		Long: `wall switches the mesh to the machine's clock. It is recorded, and there is no way back. Where the replay ran
past today, its chains are given the present time: what was decided ahead of it stays, so waits that began then end
late, and contacts that were counted then count until they are that old.`,
		Args: args(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.clock(cmd.Context(), func(ctx context.Context, c stagev1.ClockServiceClient, t *table) (proto.Message, error) {
				res, err := c.SwitchToWall(ctx, &stagev1.SwitchToWallRequest{})
				t.linef("the replay ended at %s; the mesh is on the machine's clock now", when(res.GetAt()))
				if n := res.GetMended(); n > 0 {
					t.linef("%d chains were ahead of the present time and go on at it; what was decided ahead of it stays", n)
				}
				return res, err
			})
		},
	}
}

func (a *app) clock(ctx context.Context, ask func(context.Context, stagev1.ClockServiceClient, *table) (proto.Message, error)) error {
	var t table
	var res proto.Message
	err := a.withGRPC(ctx, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		res, err = ask(ctx, stagev1.NewClockServiceClient(conn), &t)
		return err
	})
	if err != nil {
		return err
	}
	return a.print(plain(res), t)
}
