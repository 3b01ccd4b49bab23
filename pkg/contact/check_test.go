package contact

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func compiled(t fataler, spec *definitionv1.ContactPolicy) *Policy {
	t.Helper()
	p, problems := Compile("cadence", spec)
	if len(problems) > 0 {
		t.Fatalf("compile: %v", problems)
	}
	return p
}

func instant(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func statement(state eventv1.ConsentState, channel, topic, basis string, at time.Time) *profilev1.ConsentRecord {
	return &profilev1.ConsentRecord{
		Consent: &eventv1.Consent{State: state, Channel: channel, Topic: topic, Basis: basis}, At: timestamppb.New(at),
	}
}

const (
	given     = eventv1.ConsentState_CONSENT_STATE_GIVEN
	withdrawn = eventv1.ConsentState_CONSENT_STATE_WITHDRAWN
)

// reachable is a customer in a zone who can be mailed about everything.
func reachable(zone string) *contactv1.State {
	b := &decisionv1.ContactBasis{
		Consents:  []*profilev1.ConsentRecord{statement(given, "email", "*", "express", instant("2026-01-01T00:00:00Z"))},
		Endpoints: []*profilev1.Endpoint{{Channel: "email", Address: "a@shop.example"}},
	}
	if zone != "" {
		b.Zone = &profilev1.Zone{Name: zone, Provenance: "trait"}
	}
	return &contactv1.State{Tenant: "default", Basis: b}
}

func mail(id string) Contact {
	return Contact{
		ID: id, Action: "welcome-mail", Purpose: "marketing", Obeys: true, Counts: true,
		Treatments: []Treatment{{ID: "mail", Channel: "email", Topic: "news", Reach: Reach{Endpoint: "email", Channel: "email"}, To: "customer"}},
	}
}

func sent(s *contactv1.State, action, channel string, at time.Time) {
	s.Ledger = append(s.Ledger, &contactv1.LedgerEntry{
		Id: fmt.Sprintf("%s-%d", action, len(s.GetLedger())), At: timestamppb.New(at), State: contactv1.EntryState_ENTRY_STATE_COMMITTED,
		Action: action, Channel: channel, Purpose: "marketing", Counts: true, Zone: Zone(s),
	})
}

func codes(reasons []*reasonv1.Reason) string {
	out := make([]string, 0, len(reasons))
	for _, r := range reasons {
		out = append(out, strings.TrimPrefix(r.GetCode().String(), "CODE_"))
	}
	return strings.Join(out, " ")
}

func kind(v Verdict) string { return strings.TrimPrefix(v.Kind.String(), "VERDICT_KIND_") }

func TestGates(t *testing.T) {
	now := instant("2026-03-02T12:00:00Z")
	consents := func(list ...*profilev1.ConsentRecord) func(*contactv1.State, *Contact) {
		return func(s *contactv1.State, _ *Contact) { s.Basis.Consents = list }
	}
	purpose := func(p string, then func(*contactv1.State, *Contact)) func(*contactv1.State, *Contact) {
		return func(s *contactv1.State, c *Contact) {
			c.Purpose, c.Obeys, c.Counts = p, false, false
			then(s, c)
		}
	}
	bounced := &reasonv1.Reason{Code: reasonv1.Code_CODE_SUPPRESSED_HARD_BOUNCE}
	early, later := now.Add(-48*time.Hour), now.Add(-24*time.Hour)
	expired := statement(given, "email", "news", "implied", early)
	expired.Consent.ExpiresAt = timestamppb.New(later)
	for _, c := range []struct {
		name string
		with func(*contactv1.State, *Contact)
		want string
	}{
		{"allowed", func(*contactv1.State, *Contact) {}, "APPROVED"},
		{"closed by a gap", func(s *contactv1.State, _ *Contact) {
			s.Basis.Closed = &reasonv1.Reason{Code: reasonv1.Code_CODE_GAP}
		}, "SUPPRESSED GAP"},
		{"no endpoint", func(s *contactv1.State, _ *Contact) { s.Basis.Endpoints = nil }, "SUPPRESSED NO_ENDPOINT"},
		{"an address of another customer", func(s *contactv1.State, _ *Contact) {
			s.Basis.Endpoints = nil
			s.Basis.Missing = []*decisionv1.AddressMissing{
				{Kind: "phone", Reason: &reasonv1.Reason{Code: reasonv1.Code_CODE_ADDRESS_CONFLICT}},
				{Kind: "email", Reason: &reasonv1.Reason{Code: reasonv1.Code_CODE_ADDRESS_CONFLICT}},
			}
		}, "SUPPRESSED ADDRESS_CONFLICT"},
		{"the channel needs no endpoint", func(s *contactv1.State, c *Contact) {
			s.Basis.Endpoints, c.Treatments[0].Reach.Endpoint = nil, ""
		}, "APPROVED"},
		{"to the team, from a customer who said no", func(s *contactv1.State, c *Contact) {
			s.Basis, c.Treatments[0].To = &decisionv1.ContactBasis{}, "team"
		}, "APPROVED"},
		{"to the team about a closed profile", func(s *contactv1.State, c *Contact) {
			s.Basis.Closed, c.Treatments[0].To = &reasonv1.Reason{Code: reasonv1.Code_CODE_IDENTITY_LINKED}, "team"
		}, "SUPPRESSED IDENTITY_LINKED"},
		{"to a rep, from a customer who said no and had enough", func(s *contactv1.State, c *Contact) {
			s.Basis = &decisionv1.ContactBasis{Endpoints: []*profilev1.Endpoint{{Trait: "rep_email", Address: "rep@shop.example"}}}
			c.Treatments[0].Reach = Reach{Endpoint: "rep_email", Trait: true}
		}, "APPROVED"},
		{"the rep is not known, the customer's address is", func(_ *contactv1.State, c *Contact) {
			c.Treatments[0].Reach = Reach{Endpoint: "rep_email", Trait: true}
		}, "SUPPRESSED NO_ENDPOINT"},
		{"a trait is no address of the customer", func(s *contactv1.State, _ *Contact) {
			s.Basis.Endpoints = []*profilev1.Endpoint{{Trait: "email", Address: "rep@shop.example"}}
		}, "SUPPRESSED NO_ENDPOINT"},
		{"another channel with the customer's phone", func(s *contactv1.State, c *Contact) {
			s.Basis.Endpoints = []*profilev1.Endpoint{{Channel: "sms", Address: "+491701234567"}}
			c.Treatments[0].Reach = ReachOf(&definitionv1.Channel{Endpoint: "phone"}, nil)
		}, "APPROVED"},
		{"bounced", func(s *contactv1.State, _ *Contact) { s.Basis.Endpoints[0].DoNotContact = bounced }, "SUPPRESSED SUPPRESSED_HARD_BOUNCE"},
		{"bounced, legal", purpose("legal", func(s *contactv1.State, _ *Contact) { s.Basis.Endpoints[0].DoNotContact = bounced }), "SUPPRESSED SUPPRESSED_HARD_BOUNCE"},
		{"another address is left", func(s *contactv1.State, _ *Contact) {
			s.Basis.Endpoints[0].DoNotContact = bounced
			s.Basis.Endpoints = append(s.Basis.Endpoints, &profilev1.Endpoint{Channel: "email"})
		}, "APPROVED"},
		{"marketing needs permission", consents(), "SUPPRESSED CONSENT_MISSING"},
		{"for the channel", consents(statement(given, "sms", "*", "", early)), "SUPPRESSED CONSENT_MISSING"},
		{"for the topic", consents(statement(given, "email", "offers", "", early)), "SUPPRESSED CONSENT_MISSING"},
		{"for the topic on any channel", consents(statement(given, "*", "news", "", early)), "APPROVED"},
		{"for everything", consents(statement(given, "*", "*", "", early)), "APPROVED"},
		{"expired", consents(expired), "SUPPRESSED CONSENT_EXPIRED"},
		{"the most specific record wins", consents(statement(given, "email", "*", "", early), statement(withdrawn, "email", "news", "", early)), "SUPPRESSED UNSUBSCRIBED"},
		{"also when it permits", consents(statement(withdrawn, "email", "*", "", early), statement(given, "email", "news", "", later)), "APPROVED"},
		{"a withdrawal of everything dominates", consents(statement(withdrawn, "*", "*", "", early), statement(given, "email", "news", "", later)), "SUPPRESSED UNSUBSCRIBED"},
		{"service needs no permission", purpose("service", consents()), "APPROVED"},
		{"service, unsubscribed from all mail", purpose("service", consents(statement(withdrawn, "email", "*", "", early))), "APPROVED"},
		{"service, unsubscribed from exactly this", purpose("service", consents(statement(withdrawn, "email", "news", "", early))), "SUPPRESSED UNSUBSCRIBED"},
		{"transactional, complained", purpose("transactional", consents(statement(withdrawn, "email", "*", "complaint", early))), "SUPPRESSED SUPPRESSED_COMPLAINT"},
		{"transactional, STOP", purpose("transactional", consents(statement(withdrawn, "email", "*", "stop", early))), "SUPPRESSED UNSUBSCRIBED"},
		{"legal asks for no consent", purpose("legal", consents(statement(withdrawn, "*", "*", "", early))), "APPROVED"},
		{"no treatment", func(_ *contactv1.State, c *Contact) { c.Treatments = nil }, "SUPPRESSED NO_TREATMENT"},
		{"the second treatment", func(_ *contactv1.State, c *Contact) {
			c.Treatments = append([]Treatment{{ID: "sms", Channel: "sms", Reach: Reach{Endpoint: "phone", Channel: "sms"}}}, c.Treatments...)
		}, "APPROVED NO_ENDPOINT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, contact := reachable("Europe/London"), mail("p1")
			c.with(s, &contact)
			before := s.CloneVT()
			v := Check(s, contact, nil, Env{Now: now, Revision: "r1"}, Fast)
			if got := strings.TrimSpace(kind(v) + " " + codes(v.Reasons)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			for _, r := range v.Reasons {
				if r.GetRevision() != "r1" {
					t.Errorf("reason %s has revision %q, want r1", r.GetCode(), r.GetRevision())
				}
			}
			if !before.EqualVT(s) {
				t.Errorf("Check changed the state")
			}
		})
	}
}

func TestConsentOfPolicies(t *testing.T) {
	policy := func(consent string) *Policy { return compiled(t, &definitionv1.ContactPolicy{Consent: consent}) }
	s := reachable("")
	s.Basis.Consents = nil
	for _, c := range []struct {
		policies []*Policy
		want     string
	}{
		{[]*Policy{policy("")}, "SUPPRESSED CONSENT_MISSING"},
		{[]*Policy{policy("not_required")}, "APPROVED"},
		{[]*Policy{policy("not_required"), policy("required")}, "SUPPRESSED CONSENT_MISSING"},
	} {
		v := Check(s, mail("p"), c.policies, Env{Now: instant("2026-03-02T12:00:00Z")}, Fast)
		if got := strings.TrimSpace(kind(v) + " " + codes(v.Reasons)); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
	s.Basis.Consents = []*profilev1.ConsentRecord{statement(withdrawn, "email", "*", "", instant("2026-01-01T00:00:00Z"))}
	if v := Check(s, mail("p"), []*Policy{policy("not_required")}, Env{Now: instant("2026-03-02T12:00:00Z")}, Fast); codes(v.Reasons) != "UNSUBSCRIBED" {
		t.Errorf("opt-out: got %s %s, want UNSUBSCRIBED", kind(v), codes(v.Reasons))
	}
}

func TestTimeRules(t *testing.T) {
	quiet := &definitionv1.Quiet{From: "20:00", To: "08:00"}
	type entry struct{ action, channel, at string }
	for _, c := range []struct {
		name, zone, now string
		policy          *definitionv1.ContactPolicy
		ledger          []entry
		want            string // kind, codes, until
		evidence        string
	}{
		{
			"quiet in Tokyo", "Asia/Tokyo", "2026-03-02T21:14:00+09:00",
			&definitionv1.ContactPolicy{Quiet: quiet}, nil,
			"DEFERRED QUIET_HOURS 2026-03-03T08:00:00+09:00", "local time Mon 21:14 in Asia/Tokyo",
		},
		{
			"quiet over the spring gap", "America/New_York", "2026-03-07T23:00:00-05:00",
			&definitionv1.ContactPolicy{Quiet: quiet}, nil,
			"DEFERRED QUIET_HOURS 2026-03-08T08:00:00-04:00", "local time Sat 23:00 in America/New_York",
		},
		{
			"quiet, but longer than it may wait", "Asia/Tokyo", "2026-03-02T21:14:00+09:00",
			&definitionv1.ContactPolicy{Quiet: &definitionv1.Quiet{From: "20:00", To: "08:00", MaxDefer: "PT4H"}}, nil,
			"SUPPRESSED QUIET_HOURS 2026-03-03T08:00:00+09:00", "local time Mon 21:14 in Asia/Tokyo",
		},
		{
			"an unknown zone is always quiet somewhere", "", "2026-03-02T12:00:00Z",
			&definitionv1.ContactPolicy{Quiet: quiet}, nil,
			"SUPPRESSED TZ_UNKNOWN", "the zone is unknown, and 20:00-08:00 is always quiet somewhere",
		},
		{
			"an unknown zone read as the workspace's", "", "2026-03-02T21:30:00Z",
			&definitionv1.ContactPolicy{Quiet: &definitionv1.Quiet{From: "20:00", To: "08:00", UnknownZone: "workspace"}}, nil,
			"DEFERRED QUIET_HOURS 2026-03-03T08:00:00+01:00", "local time Mon 22:30 in Europe/Berlin",
		},
		{
			"a rolling cap", "Europe/London", "2026-03-06T12:00:00Z",
			&definitionv1.ContactPolicy{Caps: []*definitionv1.Cap{{Max: 2, Per: rolling("P7D")}}},
			[]entry{{"welcome-mail", "email", "2026-03-02T09:12:00Z"}, {"thanks", "email", "2026-03-04T10:00:00Z"}},
			"SUPPRESSED CAP_REACHED 2026-03-09T09:12:00Z", "thanks Wed 10:00; welcome-mail Mon 09:12",
		},
		{
			"a rolling cap ends to the second", "Europe/London", "2026-03-09T09:12:00Z",
			&definitionv1.ContactPolicy{Caps: []*definitionv1.Cap{{Max: 2, Per: rolling("P7D")}}},
			[]entry{{"welcome-mail", "email", "2026-03-02T09:12:00Z"}, {"thanks", "email", "2026-03-04T10:00:00Z"}},
			"APPROVED", "",
		},
		{
			"a cap of another channel", "Europe/London", "2026-03-06T12:00:00Z",
			&definitionv1.ContactPolicy{Caps: []*definitionv1.Cap{{Max: 1, Per: rolling("P7D"), Channel: "sms"}}},
			[]entry{{"welcome-mail", "sms", "2026-03-05T09:12:00Z"}}, "APPROVED", "",
		},
		{
			"other channels do not count", "Europe/London", "2026-03-06T12:00:00Z",
			&definitionv1.ContactPolicy{Caps: []*definitionv1.Cap{{Max: 1, Per: rolling("P7D"), Channel: "email"}}},
			[]entry{{"welcome-sms", "sms", "2026-03-05T09:12:00Z"}}, "APPROVED", "",
		},
		{
			"other actions do not count", "Europe/London", "2026-03-06T12:00:00Z",
			&definitionv1.ContactPolicy{Caps: []*definitionv1.Cap{{Max: 1, Per: rolling("P7D"), Action: "welcome-mail"}}},
			[]entry{{"thanks", "email", "2026-03-05T09:12:00Z"}}, "APPROVED", "",
		},
		{
			"a calendar day that starts at 01:00", "America/Santiago", "2026-09-05T23:30:00-04:00",
			&definitionv1.ContactPolicy{Caps: []*definitionv1.Cap{{Max: 1, Per: calendar("day", "recipient"), Blocked: "defer"}}},
			[]entry{{"welcome-mail", "email", "2026-09-05T00:30:00-04:00"}},
			"DEFERRED CAP_REACHED 2026-09-06T01:00:00-03:00", "welcome-mail Sat 00:30",
		},
		{
			"a calendar week in a fixed zone", "Asia/Tokyo", "2026-03-08T23:30:00Z",
			&definitionv1.ContactPolicy{Caps: []*definitionv1.Cap{{Max: 1, Per: calendar("week", "UTC")}}},
			[]entry{{"welcome-mail", "email", "2026-03-02T00:00:00Z"}},
			"SUPPRESSED CAP_REACHED 2026-03-09T00:00:00Z", "welcome-mail Mon 2 Mar 09:00",
		},
		{
			"a calendar day in an unknown zone ends where it ends last", "", "2026-03-02T23:00:00Z",
			&definitionv1.ContactPolicy{Caps: []*definitionv1.Cap{{Max: 1, Per: calendar("day", "recipient")}}},
			[]entry{{"welcome-mail", "email", "2026-03-02T10:30:00Z"}},
			"SUPPRESSED CAP_REACHED 2026-03-03T10:15:00Z", "welcome-mail Mon 11:30",
		},
		{
			"the gap", "Europe/London", "2026-03-03T09:12:00Z",
			&definitionv1.ContactPolicy{Gap: "P2D"},
			[]entry{{"old", "email", "2026-03-01T09:00:00Z"}, {"welcome-mail", "email", "2026-03-02T09:12:00Z"}},
			"SUPPRESSED MIN_GAP 2026-03-04T09:12:00Z", "welcome-mail Mon 09:12",
		},
		{
			"deferred to what all rules allow at once", "Europe/London", "2026-03-02T19:00:00Z",
			&definitionv1.ContactPolicy{
				Quiet: quiet,
				Caps:  []*definitionv1.Cap{{Max: 1, Per: rolling("P1D"), Blocked: "defer"}},
			},
			[]entry{{"welcome-mail", "email", "2026-03-01T21:30:00Z"}},
			"DEFERRED CAP_REACHED 2026-03-03T08:00:00Z", "welcome-mail Sun 21:30",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, now := reachable(c.zone), instant(c.now)
			for _, e := range c.ledger {
				sent(s, e.action, e.channel, instant(e.at))
			}
			v := Check(s, mail("p1"), []*Policy{compiled(t, c.policy)}, Env{Now: now, DefaultZone: "Europe/Berlin"}, All)
			got := strings.TrimSpace(kind(v) + " " + codes(v.Reasons))
			if !v.Until.IsZero() {
				want := c.want[strings.LastIndex(c.want, " ")+1:]
				if at, err := time.Parse(time.RFC3339, want); err == nil && at.Equal(v.Until) {
					got += " " + want
				} else {
					got += " " + v.Until.Format(time.RFC3339)
				}
			}
			if got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
			var evidence []string
			for _, r := range v.Reasons {
				evidence = append(evidence, r.GetEvidence()...)
			}
			if got := strings.Join(evidence, "; "); got != c.evidence {
				t.Errorf("evidence %q, want %q", got, c.evidence)
			}
			if fast := Check(s, mail("p1"), []*Policy{compiled(t, c.policy)}, Env{Now: now, DefaultZone: "Europe/Berlin"}, Fast); fast.Kind != v.Kind {
				t.Errorf("fast says %s, all says %s", kind(fast), kind(v))
			}
		})
	}
}

func TestObeysAndCounts(t *testing.T) {
	now := instant("2026-03-02T12:00:00Z")
	policies := []*Policy{compiled(t, &definitionv1.ContactPolicy{
		Applies: &definitionv1.Applies{Purpose: []string{"marketing"}}, Caps: []*definitionv1.Cap{{Max: 1, Per: rolling("P1D")}},
	})}
	s := reachable("Europe/London")
	sent(s, "delivery-note", "email", now.Add(-time.Hour))
	s.Ledger[0].Purpose = "service"
	if v := Check(s, mail("p"), policies, Env{Now: now}, Fast); codes(v.Reasons) != "CAP_REACHED" {
		t.Errorf("a service contact that counts uses up room; got %s %s", kind(v), codes(v.Reasons))
	}
	s.Ledger[0].Counts = false
	if v := Check(s, mail("p"), policies, Env{Now: now}, Fast); kind(v) != "APPROVED" {
		t.Errorf("one that does not count uses none; got %s %s", kind(v), codes(v.Reasons))
	}
	s.Ledger[0].Counts = true
	free := mail("p")
	free.Obeys = false
	if v := Check(s, free, policies, Env{Now: now}, Fast); kind(v) != "APPROVED" {
		t.Errorf("one that does not obey is not capped; got %s %s", kind(v), codes(v.Reasons))
	}
	s.Ledger[0].Id = "p"
	if v := Check(s, mail("p"), policies, Env{Now: now}, Fast); kind(v) != "APPROVED" {
		t.Errorf("a contact is not in its own way; got %s %s", kind(v), codes(v.Reasons))
	}
}

func TestApprovalEnds(t *testing.T) {
	now := instant("2026-03-02T12:00:00Z")
	with := func(spec *definitionv1.ContactPolicy) []*Policy { return []*Policy{compiled(t, spec)} }
	for _, c := range []struct {
		name     string
		policies []*Policy
		want     string
	}{
		{"by default", nil, "2026-03-02T16:00:00Z"},
		{"as the policy says", with(&definitionv1.ContactPolicy{Approval: "PT1H"}), "2026-03-02T13:00:00Z"},
		{"at the shortest", append(with(&definitionv1.ContactPolicy{}), with(&definitionv1.ContactPolicy{Approval: "PT30M"})...), "2026-03-02T12:30:00Z"},
		{"when quiet hours begin", with(&definitionv1.ContactPolicy{Quiet: &definitionv1.Quiet{From: "14:30", To: "08:00"}}), "2026-03-02T14:30:00Z"},
	} {
		v := Check(reachable("Europe/London"), mail("p"), c.policies, Env{Now: now}, Fast)
		if kind(v) != "APPROVED" || !v.NotAfter.Equal(instant(c.want)) {
			t.Errorf("%s: got %s until %s, want %s", c.name, kind(v), v.NotAfter, c.want)
		}
	}
}

func TestDeferralEnds(t *testing.T) {
	policies := []*Policy{compiled(t, &definitionv1.ContactPolicy{Quiet: &definitionv1.Quiet{From: "20:00", To: "08:00"}})}
	c := mail("p")
	c.DeferUntil = instant("2026-03-03T06:00:00Z")
	v := Check(reachable("Europe/London"), c, policies, Env{Now: instant("2026-03-02T22:00:00Z")}, Fast)
	if got := kind(v) + " " + codes(v.Reasons); got != "SUPPRESSED DEFER_EXPIRED QUIET_HOURS" {
		t.Errorf("got %s, want DEFER_EXPIRED before the reason", got)
	}
}
