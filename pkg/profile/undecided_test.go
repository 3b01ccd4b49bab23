package profile_test

import (
	"slices"
	"testing"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/profile"
)

// "No window in which both the old and the new profile may contact at the address": a claimed address is not used
// before its home has answered, whatever the answer is.
func TestAnAddressIsUndecidedUntilItsHomeAnswers(t *testing.T) {
	r := profile.DefaultRules(hasher())
	address := &eventv1.Identifier{Kind: "email", Value: "ann@shop.example"}
	home := hasher().ID("default", address)
	p, _ := applyAll(t, r, happened("a", eventv1.Kind_KIND_IDENTIFY, 1, ann(), address))
	check(t, "claimed", profile.Basis(p, nil).GetEndpoints()[0].GetUndecided(), true)
	claim := &profilev1.ClaimIdentifier{Identifier: address, Tenant: "default", ProfileId: p.GetId(), Cause: "a", At: stamp(1)}
	own := &profilev1.Profile{Tenant: "default", Id: home, Leaves: []*profilev1.Leaf{{ProfileId: home}}}
	for _, c := range []struct {
		name string
		row  *profilev1.IdentifierRow
		own  *profilev1.Profile
		// address says that it is the claimant's then, awaits that a ledger has to come first.
		address, awaits bool
	}{
		{"nobody has it", nil, nil, true, false},
		{"it is the claimant's already", &profilev1.IdentifierRow{ProfileId: p.GetId()}, nil, true, false},
		{"a profile that is gone made it", &profilev1.IdentifierRow{ProfileId: home}, nil, true, false},
		{"a profile without a person made it", &profilev1.IdentifierRow{ProfileId: home}, own, true, true},
		{"somebody else has it", &profilev1.IdentifierRow{ProfileId: []byte("another, 16 byte")}, nil, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			answers := slices.DeleteFunc(profile.Claim(r, c.row, c.own, claim, profile.Moment{}).Letters, func(l profile.Posted) bool {
				return len(l.Letter.GetConflict().GetTo()) > 0 // the owner is told
			})
			if len(answers) != 1 {
				t.Fatalf("%d answers, want one", len(answers))
			}
			mail, err := profile.Open(hasher(), answers[0].Letter)
			if err != nil {
				t.Fatal(err)
			}
			out, err := profile.Deliver(r, mail, nil, p, profile.Moment{})
			if err != nil {
				t.Fatal(err)
			}
			b := profile.Basis(out.Profile, nil)
			check(t, "address", len(b.GetEndpoints()) == 1 && !b.GetEndpoints()[0].GetUndecided(), c.address)
			check(t, "awaits", len(b.GetAwaits()) == 1, c.awaits)
			check(t, "facts", out.Facts[len(out.Facts)-1].GetBasisChanged() != nil || len(b.GetAwaits()) == 1, true)
			again, err := profile.Deliver(r, mail, nil, out.Profile, profile.Moment{})
			if err != nil || c.address && again.Profile != nil {
				t.Errorf("the answer again changes it: %v, %v", again.Profile, err)
			}
		})
	}
}

// Contact that was approved at an address is made there or nowhere.
func TestAnApprovedAddressIsUsedWhileItIsTheCustomers(t *testing.T) {
	r := profile.DefaultRules(hasher())
	p, _ := applyAll(t, r,
		happened("a", eventv1.Kind_KIND_IDENTIFY, 1, ann(), &eventv1.Identifier{Kind: "email", Value: "old@shop.example"}),
		happened("b", eventv1.Kind_KIND_IDENTIFY, 2, ann(), &eventv1.Identifier{Kind: "email", Value: "new@shop.example"}))
	for _, i := range p.GetLeaves()[0].GetIdentities() {
		i.Undecided = i.GetIdentifier().GetValue() == "new@shop.example"
	}
	check(t, "one that was replaced", profile.Reaches(p, "old@shop.example").GetAddress(), "old@shop.example")
	check(t, "one that is not decided", profile.Reaches(p, "new@shop.example").GetAddress(), "")
	check(t, "one of another", profile.Reaches(p, "eve@shop.example").GetAddress(), "")
}
