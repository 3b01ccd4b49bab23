package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
)

func (a *app) dlqCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "Look at dead letters and send them back",
		Long: `A dead letter is an input that a stage gave up, or an event that ingest refused. It is kept with its
reason until it is sent back as a late input.

The list says what became of each:

  open       its input is lost until it is sent back
  sent back  it was sent back and is not decided yet
  redriven   it came back: its input was applied, or given up again under a dead letter of its own
  applied    its input was applied after all, or it was redriven long ago; there is nothing left to do
  tried      its input is being tried still; in a moment it is open or applied
  refused    ingest refused it; publish a corrected event
  unknown    the states of its stage are being made again`,
		Example: `  refrain dlq list --stage ingest
  refrain dlq show 1f0c…
  refrain dlq redrive 1f0c…`,
		RunE: func(*cobra.Command, []string) error { return usage("want list, show or redrive") },
	}
	cmd.AddCommand(a.dlqList(), a.dlqShow(), a.dlqRedrive())
	return cmd
}

func (a *app) dlqList() *cobra.Command {
	req := &dispatchv1.ListDeadLettersRequest{}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List dead letters, oldest first",
		Example: `  refrain dlq list --stage decision --limit 20`,
		Args:    args(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var res *dispatchv1.ListDeadLettersResponse
			if err := a.withDispatch(cmd.Context(), func(ctx context.Context, c dispatchv1.DispatchServiceClient) (err error) {
				res, err = c.ListDeadLetters(ctx, req)
				return err
			}); err != nil {
				return err
			}
			t := table{head: []string{"AT", "STAGE", "PARTITION", "TENANT", "CODE", "WHY", "STATUS", "ID"}}
			for _, d := range res.GetDeadLetters() {
				t.row(when(d.GetAt()), d.GetStage(), fmt.Sprint(d.GetPartition()), d.GetTenant(), d.GetCode(), d.GetWhy(), statusOf(d.GetStatus()), d.GetId())
			}
			if len(t.rows) == 0 {
				t.linef("there are no dead letters")
			}
			if res.GetNext() != 0 {
				a.sayf("there are more: --after %d", res.GetNext())
			}
			return a.print(plain(res), t)
		},
	}
	cmd.Flags().StringVar(&req.Stage, "stage", "", "only of this stage: ingest, profile, decision, suppression or dispatch")
	cmd.Flags().Uint32Var(&req.Limit, "limit", 0, "at most so many; 0 is 100")
	cmd.Flags().Uint64Var(&req.After, "after", 0, "only after this place, as the page before said")
	return cmd
}

func (a *app) dlqShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a dead letter with its payload",
		Example: `  refrain dlq show 1f0c… -o json`,
		Args:    args(1, 1, "one id"),
		RunE: func(cmd *cobra.Command, given []string) error {
			var res *dispatchv1.GetDeadLetterResponse
			if err := a.withDispatch(cmd.Context(), func(ctx context.Context, c dispatchv1.DispatchServiceClient) (err error) {
				res, err = c.GetDeadLetter(ctx, &dispatchv1.GetDeadLetterRequest{Id: given[0]})
				return err
			}); err != nil {
				return err
			}
			d := res.GetDeadLetter()
			t := table{}
			for _, line := range [][2]string{
				{"id", d.GetId()}, {"stage", d.GetStage()}, {"partition", fmt.Sprint(d.GetPartition())}, {"tenant", d.GetTenant()}, {"code", d.GetCode()},
				{"why", d.GetWhy()}, {"at", when(d.GetAt())}, {"status", statusOf(d.GetStatus())}, {"payload", d.GetPayload()},
			} {
				t.row(line[0], line[1])
			}
			return a.print(plain(d), t)
		},
	}
}

func (a *app) dlqRedrive() *cobra.Command {
	return &cobra.Command{
		Use:   "redrive ID...",
		Short: "Send dead letters back as late inputs",
		Long: `redrive sends dead letters back to the stages that gave them up. Doing it twice has one effect. One whose
input was applied after all is passed over, which is no error.`,
		Example: `  refrain dlq redrive 1f0c…
  refrain dlq list -o json | jq -r '.dead_letters[].id' | xargs refrain dlq redrive`,
		Args: args(1, 1000, "one id or more"),
		RunE: func(cmd *cobra.Command, ids []string) error {
			t := table{head: []string{"ID", "STATUS", "SUBJECT", "SEQUENCE"}}
			list, skipped := []any{}, []any{}
			var failed error
			for _, id := range ids {
				var res *dispatchv1.RedriveDeadLetterResponse
				err := a.withDispatch(cmd.Context(), func(ctx context.Context, c dispatchv1.DispatchServiceClient) (err error) {
					res, err = c.RedriveDeadLetter(ctx, &dispatchv1.RedriveDeadLetterRequest{Id: id})
					return err
				})
				if err != nil {
					failed = errors.Join(failed, fmt.Errorf("redrive %s: %w", id, err))
					continue
				}
				if res.GetStatus() == dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_APPLIED {
					t.row(id, "its input was applied after all", "", "")
					skipped = append(skipped, map[string]any{"id": id, "status": statusOf(res.GetStatus())})
					continue
				}
				t.row(id, statusOf(res.GetStatus()), res.GetSubject(), fmt.Sprint(res.GetSequence()))
				list = append(list, map[string]any{"id": id, "subject": res.GetSubject(), "sequence": res.GetSequence()})
			}
			return errors.Join(a.print(map[string]any{"redriven": list, "skipped": skipped}, t), failed)
		},
	}
}

func (a *app) withDispatch(ctx context.Context, run func(context.Context, dispatchv1.DispatchServiceClient) error) error {
	return a.withGRPC(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		return run(ctx, dispatchv1.NewDispatchServiceClient(conn))
	})
}

// statusOf is a status in words: DEAD_LETTER_STATUS_SENT_BACK is "sent back".
func statusOf(s dispatchv1.DeadLetterStatus) string {
	if s == dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_UNSPECIFIED {
		return "unknown"
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.String(), "DEAD_LETTER_STATUS_")), "_", " ")
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
