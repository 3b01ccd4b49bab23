package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

func (a *app) contactCommand() *cobra.Command {
	req := &contactv1.CheckRequest{Contact: &contactv1.Contact{}}
	cmd := &cobra.Command{
		Use:   "check CUSTOMER ACTION [CHANNEL]",
		Short: "Ask whether an action may reach a customer now",
		Long: `check asks whether an action could reach a customer now, on one channel or on any that it has a treatment for,
and prints every reason against it with the time at which it may be gone: the action's own gates, consent, the contact
policy. Purpose and topic are the action's. An action of another system needs --purpose and a channel.
Asking has no effect. Exit code 1 if not.`,
		Example: `  refrain check ann thank-you
  refrain check ann thank-you email --policy-only
  refrain check ann courtesy-call phone --purpose service`,
		Args: args(2, 3, "a customer, an action and perhaps a channel"),
		RunE: func(cmd *cobra.Command, given []string) error {
			req.Tenant = a.tenant
			req.Contact.Action = given[1]
			if len(given) > 2 {
				req.Contact.Channel = given[2]
			}
			var res *contactv1.CheckResponse
			if err := a.about(cmd.Context(), given[0], func(ctx context.Context, conn *grpc.ClientConn, id *eventv1.Identifier) (err error) {
				req.Identifier = id
				res, err = contactv1.NewContactServiceClient(conn).Check(ctx, req)
				return err
			}); err != nil {
				return err
			}
			if err := a.print(plain(res), contactTable(res)); err != nil {
				return err
			}
			if res.GetKind() != contactv1.VerdictKind_VERDICT_KIND_APPROVED {
				return negative("")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&req.Contact.Topic, "topic", "", "the topic that consent is asked for; default: the treatment's")
	cmd.Flags().BoolVar(&req.PolicyOnly, "policy-only", false, "ask about consent and the contact policy alone, not about the action's gates")
	cmd.Flags().StringVar(&req.Contact.Purpose, "purpose", "", "marketing, service, transactional or legal; default: the action's")
	return cmd
}

func contactTable(res *contactv1.CheckResponse) table {
	t := table{head: []string{"CODE", "RULE", "UNTIL", "EVIDENCE", "REMEDY"}}
	verdict := strings.ToLower(strings.TrimPrefix(res.GetKind().String(), "VERDICT_KIND_"))
	if res.GetChannel() != "" {
		verdict += " on " + res.GetChannel()
	}
	if res.GetUntil() != nil {
		verdict += " until " + res.GetUntil().AsTime().Format(time.RFC3339)
	}
	t.linef("%s", verdict)
	for _, r := range res.GetReasons() {
		until := ""
		if r.GetUntil() != nil {
			until = r.GetUntil().AsTime().Format(time.RFC3339)
		}
		t.row(strings.TrimPrefix(r.GetCode().String(), "CODE_"), r.GetRule(), until, strings.Join(r.GetEvidence(), ", "), r.GetRemedy())
	}
	return t
}
