package profilesvc

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/consent"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/stage/stagetest"
)

// profileLists and identifierLists are all lists of the two kinds of state, and how many elements each has at most; 0:
// what fits the row, what comes beyond is given up. A list that is added needs its line here.
var (
	profileLists = map[string]int{
		"leaves":                                   0, // one: nothing is merged in
		"leaves.identities":                        profile.MaxIdentities,
		"leaves.traits":                            0, // those that are published: profile.MaxTraits
		"leaves.traits.value.list.values":          0,
		"leaves.traits.value.object.properties":    0,
		"leaves.consents":                          0, // one for each channel and topic
		"leaves.consents.beside":                   0, // 4 at a time
		"leaves.endpoints":                         0, // 10 a channel
		"leaves.endpoints.do_not_contact.evidence": 0,
		"leaves.relations":                         profile.MaxRelations,
		"leaves.quarantine":                        16,
		"leaves.quarantine.raw.list.values":        0,
		"leaves.quarantine.raw.object.properties":  0,
		"linked":                                 0, // one for each identifier claimed
		"linked.withdrawals":                     0, // unset in states
		"linked.withdrawals.beside":              0,
		"linked.blocked":                         0, // unset in states
		"linked.blocked.do_not_contact.evidence": 0,
		"gaps":                                   profile.MaxClosing + 51,
		"heard":                                  256,
		"told":                                   64,
		"conflicts":                              profile.MaxConflicts,
	}
	identifierLists = map[string]int{"seen_days": 5, "told": 64}
)

func TestEveryListOfTheStatesHasABound(t *testing.T) {
	for m, bounds := range map[proto.Message]map[string]int{&profilev1.Profile{}: profileLists, &profilev1.IdentifierRow{}: identifierLists} {
		var known []string
		for path := range bounds {
			known = append(known, path)
		}
		slices.Sort(known)
		got := stagetest.Lists(m)
		slices.Sort(got)
		if !slices.Equal(got, known) {
			t.Errorf("lists of %s: got %q, want those with a bound: %q", m.ProtoReflect().Descriptor().Name(), got, known)
		}
	}
}

// However full a list is: what comes takes effect or is given up with a mark; a withdrawal counts, or contact is closed;
// and no list outgrows its bound.
func TestAProfileThatIsFullGoesOn(t *testing.T) {
	for path, most := range profileLists {
		t.Run(path, func(t *testing.T) {
			m := newMesh(t, 1)
			m.publish(track("t0", 0, user("u")))
			p := m.made(user("u"))
			key := identity.CustomerKey(tenant, p.GetId())
			row := identity.IdentifierKey(tenant, p.GetId())
			fill := most
			if fill == 0 {
				fill = 1 << 20
			}
			stagetest.Fill(p, strings.Split(path, "."), fill, 63<<10, func(e proto.Message) {
				switch e := e.(type) {
				case *profilev1.ConsentRecord:
					e.Consent.State = eventv1.ConsentState_CONSENT_STATE_GIVEN
				case *profilev1.ProfileGap:
					e.ClosesContact = true
				}
			})
			p.LinkedTo = nil
			state, err := p.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			l := &stagetest.Limits{Fold: m.fold, Env: stage.Env{Now: start}, Rows: map[string][]byte{key: state, row: m.rows[0][row]}}
			now := func() *profilev1.Profile {
				p := &profilev1.Profile{}
				if err := p.UnmarshalVT(l.Rows[key]); err != nil {
					t.Fatal(err)
				}
				return p
			}
			consents := 60
			if path == "leaves.consents" {
				consents = profile.MaxClosing + 100
			}
			for n, e := range busy(consents) {
				in := laneInput(t, e, stage.FromLane, "")
				in.Sequence, in.Index = uint64(n+1), 1 //nolint:gosec // few
				_, up, err := l.Do(in)
				if err != nil {
					t.Fatal(err)
				}
				if c := e.GetConsent(); c != nil && profile.Closed(now()) == nil && !withdrawn(now(), c) {
					t.Fatalf("a withdrawal is lost (given up: %v), and contact is open", up)
				}
			}
			if n := stagetest.Len(now(), strings.Split(path, ".")); most > 0 && n > most {
				t.Errorf("%s has %d elements, want at most %d", path, n, most)
			}
			if n := len(l.Rows[key]); n > 128<<10 {
				t.Errorf("the row has %d bytes", n)
			}
		})
	}
}

func withdrawn(p *profilev1.Profile, c *eventv1.Consent) bool {
	return slices.ContainsFunc(profile.Consents(p), func(r *profilev1.ConsentRecord) bool {
		topic := r.GetConsent().GetTopic() // one that no definition has counts for all
		return (topic == c.GetTopic() || topic == "*") && consent.Withdraws(r)
	})
}

// busy are events of all kinds that make a profile grow, among them more withdrawals than a row can name.
func busy(consents int) []*eventv1.Event {
	var all []*eventv1.Event
	for n := range 60 { // more than are noted in the profile when they are given up
		e := identify(fmt.Sprint("i", n), n, user("u"), anon(fmt.Sprint("d", n)))
		e.Traits = []*eventv1.Property{{Name: fmt.Sprint("t", n), Value: event.Text(strings.Repeat("x", 700))}}
		all = append(all, e, track(fmt.Sprint("t", n), n, user("u")))
	}
	for n := range consents {
		e := happened(fmt.Sprint("c", n), eventv1.Kind_KIND_CONSENT, event.TypeConsentWithdrawn, n, user("u"))
		e.Consent = &eventv1.Consent{
			State: eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, Channel: "email", Topic: fmt.Sprint("topic", n), Evidence: strings.Repeat("e", 500),
		}
		all = append(all, e)
	}
	return all
}
