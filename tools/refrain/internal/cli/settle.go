package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"
)

// settleFlag says how long all that follows from events is waited for.
func settleFlag(cmd *cobra.Command, settle *time.Duration) {
	cmd.Flags().DurationVar(settle, "settle", 10*time.Minute, "how long to wait, on the replay clock, until all that follows has happened")
}

// longestAsk is how long one request waits for the mesh to settle: then it says how far it is.
const longestAsk = 2 * time.Second

// advance lets the replay clock run on and waits until all is settled, with a line about how far it is now and then.
func (a *app) advance(ctx context.Context, by string, settle time.Duration) (*stagev1.AdvanceClockResponse, error) {
	over, shown := a.Now().Add(settle), a.Now()
	for {
		var res *stagev1.AdvanceClockResponse
		wait := min(longestAsk, a.timeout/2)
		if err := a.withGRPC(ctx, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
			res, err = stagev1.NewClockServiceClient(conn).AdvanceClock(ctx, &stagev1.AdvanceClockRequest{By: by, Wait: durationpb.New(wait)})
			return err
		}); err != nil {
			return nil, err
		}
		switch {
		case res.GetSettled():
			return res, nil
		case !a.Now().Before(over):
			return nil, fmt.Errorf("the mesh did not settle within %s, the clock is at %s: %s; it goes on, and 'refrain clock get' says how far it is",
				settle, when(res.GetNow()), cmp.Or(strings.Join(res.GetOpen(), "; "), "it does not say what is open"))
		case a.Now().Sub(shown) >= elsewhere:
			shown = a.Now()
			a.sayf("the clock is at %s, up to %s", when(res.GetNow()), when(res.GetUntil()))
		}
		by = "PT0S" // what was asked for is noted
	}
}
