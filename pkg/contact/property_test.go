package contact

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

// made is a contact as the naive reference sees it: when it was really sent, over what.
type made struct {
	at              time.Time
	channel, action string
}

// exceeded is the naive reference: it looks at every window that ends with a send and counts. It shares
// nothing with the package.
func exceeded(sends []made, spec *definitionv1.ContactPolicy, loc *time.Location) string {
	slices.SortFunc(sends, func(a, b made) int { return a.at.Compare(b.at) })
	long := map[string]time.Duration{"PT6H": 6 * time.Hour, "P1D": 24 * time.Hour, "P3D": 72 * time.Hour, "P7D": 168 * time.Hour}
	name := func(t time.Time, unit string) string {
		t = t.In(loc)
		if unit == "week" {
			year, week := t.ISOWeek()
			return fmt.Sprint(year, week)
		}
		return t.Format(map[string]string{"day": "2006-01-02", "month": "2006-01"}[unit])
	}
	for i, c := range spec.GetCaps() {
		for _, last := range sends {
			n := uint32(0)
			for _, s := range sends {
				if c.GetChannel() != "" && s.channel != c.GetChannel() || c.GetAction() != "" && s.action != c.GetAction() {
					continue
				}
				if r := c.GetPer().GetRolling(); r != "" && !s.at.After(last.at) && last.at.Sub(s.at) < long[r] {
					n++
				}
				if u := c.GetPer().GetCalendar(); u != "" && name(s.at, u) == name(last.at, u) {
					n++
				}
			}
			if n > c.GetMax() {
				return fmt.Sprintf("cap %d: %d contacts in the window of %s, at most %d", i, n, last.at.In(loc), c.GetMax())
			}
		}
	}
	for i := 1; i < len(sends); i++ {
		if gap := long[spec.GetGap()]; sends[i].at.Sub(sends[i-1].at) < gap {
			return fmt.Sprintf("gap: %s and %s", sends[i-1].at.In(loc), sends[i].at.In(loc))
		}
	}
	return ""
}

func drawPolicy(t *rapid.T) *definitionv1.ContactPolicy {
	spec := &definitionv1.ContactPolicy{Gap: rapid.SampledFrom([]string{"", "", "PT6H"}).Draw(t, "gap")}
	for range rapid.IntRange(1, 3).Draw(t, "caps") {
		c := &definitionv1.Cap{
			Max:     rapid.Uint32Range(1, 3).Draw(t, "max"),
			Channel: rapid.SampledFrom([]string{"", "", "email"}).Draw(t, "channel"),
			Action:  rapid.SampledFrom([]string{"", "", "a"}).Draw(t, "action"),
			Blocked: rapid.SampledFrom([]string{"drop", "defer"}).Draw(t, "blocked"),
		}
		if rapid.Bool().Draw(t, "calendar") {
			c.Per = calendar(rapid.SampledFrom([]string{"day", "week", "month"}).Draw(t, "unit"), "recipient")
		} else {
			c.Per = rolling(rapid.SampledFrom([]string{"PT6H", "P1D", "P3D", "P7D"}).Draw(t, "rolling"))
		}
		spec.Caps = append(spec.Caps, c)
	}
	spec.Approval = rapid.SampledFrom([]string{"", "P1D", "P1D"}).Draw(t, "approval")
	if rapid.IntRange(0, 2).Draw(t, "quiet") == 0 {
		spec.Quiet = &definitionv1.Quiet{From: "20:00", To: "08:00"}
	}
	return spec
}

// Any interleaving of candidates, sends, doubts, releases and repeats over a window never exceeds a cap,
// and nothing is sent in quiet hours, across changes of the clock.
func TestCapsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom([]string{"America/Santiago", "America/New_York", "Asia/Tokyo"}).Draw(t, "zone")
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		spec := drawPolicy(t)
		policies := []*Policy{compiled(t, spec)}
		s := reachable(zone)
		s.Basis.Consents[0].Consent.Channel = "*"
		now := instant(rapid.SampledFrom([]string{"2026-09-04T12:00:00Z", "2026-03-06T12:00:00Z", "2026-10-30T12:00:00Z", "2026-04-03T12:00:00Z"}).Draw(t, "start"))
		open, sends := map[string]Verdict{}, []made{}
		for i := range rapid.IntRange(5, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5*60).Draw(t, "minutes")) * time.Minute)
			for _, id := range slices.Sorted(func(yield func(string) bool) {
				for id := range open {
					if !yield(id) {
						return
					}
				}
			}) {
				finish(t, &s, id, open, now, &sends, loc, spec)
			}
			c := mail(fmt.Sprint("p", i))
			c.Action = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "action")
			c.Treatments[0].Channel = rapid.SampledFrom([]string{"email", "sms"}).Draw(t, "channel")
			c.Treatments[0].Reach.Endpoint = ""
			try(t, &s, c, policies, now, open)
		}
		if problem := exceeded(sends, spec, loc); problem != "" {
			t.Fatalf("%s\npolicy %v", problem, spec)
		}
	})
}

// try checks a candidate and reserves if it is approved; a deferral is exact to the nanosecond.
func try(t *rapid.T, s **contactv1.State, c Contact, policies []*Policy, now time.Time, open map[string]Verdict) {
	env := Env{Now: now}
	v := Check(*s, c, policies, env, Fast)
	if all := Check(*s, c, policies, env, All); all.Kind != v.Kind || all.Treatment != v.Treatment {
		t.Fatalf("fast says %s, all says %s", kind(v), kind(all))
	}
	switch v.Kind {
	case contactv1.VerdictKind_VERDICT_KIND_APPROVED:
		e := &contactv1.LedgerEntry{
			Id: c.ID, At: timestamppb.New(now), Channel: c.Treatments[0].Channel, Action: c.Action, Counts: true,
			LeaseUntil: timestamppb.New(v.NotAfter),
		}
		(*s).Pending = append((*s).Pending, pendingOf(c.ID))
		*s = Reserve(*s, e)
		if again := Reserve(*s, e); !again.EqualVT(*s) {
			t.Fatalf("a second reservation changed the ledger")
		}
		open[c.ID] = v
	case contactv1.VerdictKind_VERDICT_KIND_DEFERRED:
		if got := Check(*s, c, policies, Env{Now: v.Until}, Fast); len(open) == 0 && kind(got) != "APPROVED" {
			t.Fatalf("deferred to %s, but then it is %s %s", v.Until, kind(got), codes(got.Reasons))
		}
		if got := Check(*s, c, policies, Env{Now: v.Until.Add(-1)}, Fast); len(open) == 0 && kind(got) == "APPROVED" {
			t.Fatalf("deferred to %s, but it could go before", v.Until)
		}
	case contactv1.VerdictKind_VERDICT_KIND_SUPPRESSED, contactv1.VerdictKind_VERDICT_KIND_PENDING, contactv1.VerdictKind_VERDICT_KIND_UNSPECIFIED:
	}
}

// finish lets dispatch say, sooner or later, what became of an approved contact.
func finish(t *rapid.T, s **contactv1.State, id string, open map[string]Verdict, now time.Time, sends *[]made, loc *time.Location, spec *definitionv1.ContactPolicy) {
	e, late := Find(*s, id), !now.Before(open[id].NotAfter)
	var next *contactv1.State
	var ok bool
	switch what := rapid.SampledFrom([]string{"wait", "wait", "wait", "commit", "commit", "doubt", "release"}).Draw(t, "what"); {
	case late || what == "release":
		next, ok = Release(*s, id)
	case what == "wait":
		return
	default:
		*sends = append(*sends, made{at: now, channel: e.GetChannel(), action: e.GetAction()})
		if hour := now.In(loc).Hour(); spec.GetQuiet() != nil && (hour >= 20 || hour < 8) {
			t.Fatalf("sent at %s, in quiet hours", now.In(loc))
		}
		if what == "doubt" {
			next, ok = Doubt(*s, id, now)
		} else {
			next, ok = Commit(*s, id, now)
			if again, _ := Commit(next, id, now.Add(time.Hour)); !again.EqualVT(next) {
				t.Fatalf("a second commit changed the ledger")
			}
		}
	}
	if !ok {
		t.Fatalf("no entry %s", id)
	}
	*s = next
	delete(open, id)
}
