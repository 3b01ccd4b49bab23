package cli

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/event"
)

func (a *app) profileCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "profile CUSTOMER",
		Short: "Show what is known about a customer",
		Long: `profile shows the profile that an identifier resolves to: identifiers, traits, consent, endpoints.
The answer is personal data.`,
		Example: `  refrain profile ann
  refrain profile email:ann@shop.example -o yaml`,
		Args: args(1, 1, "a customer"),
		RunE: func(cmd *cobra.Command, given []string) error {
			var res *profilev1.GetProfileResponse
			if err := a.about(cmd.Context(), given[0], func(ctx context.Context, conn *grpc.ClientConn, id *eventv1.Identifier) (err error) {
				res, err = profilev1.NewProfileServiceClient(conn).GetProfile(ctx, &profilev1.GetProfileRequest{Tenant: a.tenant, Identifier: id})
				return err
			}); err != nil {
				return err
			}
			return a.print(plain(res), profileTable(res))
		},
	}
}

func profileTable(res *profilev1.GetProfileResponse) table {
	p := res.GetProfile()
	t := table{head: []string{"WHAT", "NAME", "VALUE", "SINCE"}}
	t.linef("profile %s, %s of %s, partition %d", hex.EncodeToString(p.GetId()), short(p.GetClass()), p.GetTenant(), res.GetPartition())
	for _, l := range p.GetLeaves() {
		for _, i := range l.GetIdentities() {
			value := i.GetIdentifier().GetValue()
			if i.GetAssumed() {
				value += " (assumed: an alias named it, and nobody was known by it)"
			}
			t.row("identifier", i.GetIdentifier().GetKind(), value, when(i.GetSince()))
		}
		for _, x := range l.GetTraits() {
			text := valueText(x.GetValue())
			if x.GetOutOfRange() {
				text += " (out of range: the sum stands at its bound)"
			}
			if at := x.GetCountedSince(); at != nil {
				text += " (of what arrived since " + when(at) + ")"
			}
			t.row("trait", x.GetName(), text, when(x.GetObservedAt()))
		}
		for _, c := range l.GetConsents() {
			s := c.GetConsent()
			t.row("consent", s.GetChannel()+"/"+s.GetTopic(), short(s.GetState())+said(c), when(c.GetAt()))
		}
		for _, e := range l.GetEndpoints() {
			text := cmp.Or(e.GetWritten(), e.GetAddress(), "none: it was taken away")
			if r := e.GetDoNotContact(); r != nil {
				text += " (do not contact: " + short(r.GetCode()) + ")"
			}
			t.row("endpoint", e.GetChannel(), text, when(e.GetSince()))
		}
		for _, q := range l.GetQuarantine() {
			t.row("quarantine", q.GetName(), fmt.Sprintf("%s, want %s (%d so far)", valueText(q.GetRaw()), q.GetWant(), q.GetCount()), when(q.GetLastAt()))
		}
		if z := l.GetZone(); z != nil {
			t.row("zone", z.GetProvenance(), z.GetName(), when(z.GetObservedAt()))
		}
	}
	for _, c := range p.GetConflicts() {
		text := "is that of profile " + hex.EncodeToString(c.GetOther())
		if c.GetOwned() {
			text = "is this customer's; profile " + hex.EncodeToString(c.GetOther()) + " names it too"
		}
		t.row("conflict", c.GetKind()+" "+c.GetMasked(), text, when(c.GetSince()))
	}
	if p.GetMoreConflicts() {
		t.row("conflict", "", "more customers name an address of this one", "")
	}
	for _, g := range p.GetGaps() {
		t.row("gap", cmp.Or(g.GetDeadLetter(), "and more"), "an input was given up", "")
	}
	return t
}

// said is how a customer's words were, where they count for others.
func said(r *profilev1.ConsentRecord) string {
	if r.GetSaidChannel() == "" && r.GetSaidTopic() == "" {
		return ""
	}
	c := r.GetConsent()
	return " (said for " + cmp.Or(r.GetSaidChannel(), c.GetChannel()) + "/" + cmp.Or(r.GetSaidTopic(), c.GetTopic()) + ")"
}

// valueText is a value in one cell: text as it is, anything else as JSON.
func valueText(v *eventv1.Value) string {
	plain := event.ToAny(v)
	if s, ok := plain.(string); ok {
		return s
	}
	data, err := json.Marshal(finite(plain))
	if err != nil {
		return fmt.Sprint(plain)
	}
	return string(data)
}
