package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/services/mesh/meshsvc"
)

// moments follows the chains and tells what happened, in the order of time, of the rounds of an instant and of the stages.
type moments struct {
	t     *tour
	feeds []log.Feed
	tails []chainTail

	names  map[string]string         // customer to name
	zones  map[string]*time.Location // customer to zone
	counts map[string]int
	made   int
}

type chainTail struct {
	order int
	tail  log.Tail
	tell  func(m *moments, customer string, body *stagev1.CellBody) []moment
}

// moment is one line.
type moment struct {
	At   time.Time `json:"at"`
	Who  string    `json:"who"`
	What string    `json:"what"`
	Why  string    `json:"why,omitempty"`

	round    uint32
	order    int
	customer string
}

func follow(ctx context.Context, m *meshsvc.Mesh, t *tour) (*moments, error) {
	ms := &moments{t: t, names: map[string]string{}, zones: map[string]*time.Location{}, counts: map[string]int{}}
	chains := []struct {
		prefix string
		tell   func(m *moments, customer string, body *stagev1.CellBody) []moment
	}{{"prf", (*moments).profile}, {"act", (*moments).action}, {"vdc", (*moments).verdict}, {"snd", (*moments).send}}
	for n, c := range chains {
		from := map[string]uint64{}
		for p := range m.Generation().Partitions {
			from[log.Subject(c.prefix, p)] = 0
		}
		feed, err := m.Site().Feed(ctx, from)
		if err != nil {
			ms.close()
			return nil, fmt.Errorf("follow %s: %w", c.prefix, err)
		}
		ms.feeds = append(ms.feeds, feed)
		for subject := range from {
			ms.tails = append(ms.tails, chainTail{order: n, tail: feed.Tail(subject), tell: c.tell})
		}
	}
	return ms, nil
}

func (ms *moments) close() {
	for _, f := range ms.feeds {
		f.Close()
	}
}

// print prints what is new and says whether there was anything.
func (ms *moments) print() bool {
	var all []moment
	for _, c := range ms.tails {
		for msg, ok := c.tail.Peek(); ok; msg, ok = c.tail.Peek() {
			c.tail.Pop()
			rec := &stagev1.Record{}
			if rec.UnmarshalVT(msg.Data) != nil {
				continue
			}
			for _, cell := range rec.GetCells() {
				body := &stagev1.CellBody{}
				if body.UnmarshalVT(cell.GetSealed()) != nil {
					continue
				}
				customer := cell.GetKey()[strings.LastIndexByte(cell.GetKey(), '/')+1:]
				for _, mo := range c.tell(ms, customer, body) {
					mo.At, mo.round, mo.order, mo.customer = rec.GetNow().AsTime(), rec.GetRound(), c.order, customer
					all = append(all, mo)
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b moment) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.round, b.round), a.order-b.order)
	})
	for _, mo := range all {
		mo.Who = ms.names[mo.customer] // known by now, even if the first thing heard of was a consent
		ms.t.out.moment(mo)
	}
	return len(all) > 0
}

func (ms *moments) profile(customer string, body *stagev1.CellBody) []moment {
	p := &profilev1.Profile{}
	if len(body.GetState()) > 0 && p.UnmarshalVT(body.GetState()) == nil {
		ms.know(customer, p)
	}
	var out []moment
	for _, data := range body.GetFacts() {
		f := &profilev1.Fact{}
		if f.UnmarshalVT(data) != nil {
			continue
		}
		e := f.GetEventApplied().GetEvent()
		switch e.GetKind() {
		case eventv1.Kind_KIND_TRACK:
			out = append(out, moment{What: strings.ReplaceAll(e.GetType(), "_", " ") + about(e)})
		case eventv1.Kind_KIND_CONSENT:
			out = append(out, moment{What: said(e.GetConsent()) + " consent for " + e.GetConsent().GetChannel()})
		default: // nothing that a person would notice
		}
	}
	return out
}

// know learns a customer's name and zone.
func (ms *moments) know(customer string, p *profilev1.Profile) {
	for _, leaf := range p.GetLeaves() {
		for _, tr := range leaf.GetTraits() {
			if tr.GetName() == "name" && tr.GetValue().GetText() != "" {
				ms.names[customer] = tr.GetValue().GetText()
			}
		}
		if zone, err := time.LoadLocation(leaf.GetZone().GetName()); err == nil && leaf.GetZone().GetName() != "" {
			ms.zones[customer] = zone
		}
	}
}

func said(c *eventv1.Consent) string {
	if c.GetState() == eventv1.ConsentState_CONSENT_STATE_GIVEN {
		return "gave"
	}
	return "withdrew"
}

func about(e *eventv1.Event) string {
	for _, p := range e.GetProperties() {
		if p.GetName() == "order_id" {
			return " " + p.GetValue().GetText()
		}
	}
	return ""
}

func (ms *moments) action(_ string, body *stagev1.CellBody) []moment {
	var out []moment
	for _, data := range body.GetFacts() {
		f := &decisionv1.Fact{}
		if f.UnmarshalVT(data) != nil {
			continue
		}
		switch {
		case f.GetProposalMade() != nil:
			ms.made++
		case f.GetProposalResolved() != nil:
			r := f.GetProposalResolved()
			ms.counts[ending(r.GetResolution())]++
			out = append(out, moment{What: r.GetAction() + " " + ending(r.GetResolution()), Why: ms.why("", r.GetReasons())})
		}
	}
	return out
}

func (ms *moments) verdict(customer string, body *stagev1.CellBody) []moment {
	var out []moment
	for _, data := range body.GetFacts() {
		f := &contactv1.Fact{}
		if f.UnmarshalVT(data) != nil {
			continue
		}
		if v := f.GetVerdictGiven(); v.GetKind() == contactv1.VerdictKind_VERDICT_KIND_DEFERRED {
			out = append(out, moment{What: v.GetRequest().GetProposal().GetAction() + " deferred", Why: ms.why(customer, v.GetReasons())})
		}
		r := f.GetProposalResolved()
		if r == nil {
			continue
		}
		ms.counts[ending(r.GetResolution())]++
		if r.GetResolution() != decisionv1.Resolution_RESOLUTION_SENT {
			out = append(out, moment{What: r.GetAction() + " " + ending(r.GetResolution()), Why: ms.why(customer, r.GetReasons())})
		}
	}
	return out
}

func (ms *moments) send(_ string, body *stagev1.CellBody) []moment {
	var out []moment
	for _, data := range body.GetFacts() {
		f := &dispatchv1.Fact{}
		if f.UnmarshalVT(data) != nil {
			continue
		}
		r := f.GetDeliveryReported()
		if r.GetStatus() != dispatchv1.Status_STATUS_ACCEPTED {
			continue
		}
		path := filepath.Join(ms.t.dir, "channels", "mail", r.GetProposal()+".eml")
		what := r.GetAction() + " sent"
		if r.GetChannel() != "email" {
			path, what = filepath.Join(ms.t.dir, "channels", r.GetChannel()+".jsonl"), r.GetAction()+": a task for the team"
		}
		out = append(out, moment{What: what, Why: path})
	}
	return out
}

func ending(r decisionv1.Resolution) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "RESOLUTION_"))
}

// why says a reason in one line: the code, until when, and what used up the room.
func (ms *moments) why(customer string, reasons []*reasonv1.Reason) string {
	if len(reasons) == 0 {
		return ""
	}
	r := reasons[0]
	text := strings.TrimPrefix(r.GetCode().String(), "CODE_")
	if r.GetUntil() != nil {
		zone := ms.zones[customer]
		if zone == nil {
			zone = london()
		}
		place := zone.String()
		place = strings.ReplaceAll(place[strings.LastIndexByte(place, '/')+1:], "_", " ")
		text += " until " + r.GetUntil().AsTime().In(zone).Format("Mon 15:04") + " in " + place
	}
	if r.GetCode() != reasonv1.Code_CODE_QUIET_HOURS && len(r.GetEvidence()) > 0 {
		text += evidence(r)
	}
	return text
}

// evidence is what the rule saw; of a cap, the contact that used up the room.
func evidence(r *reasonv1.Reason) string {
	if r.GetCode() == reasonv1.Code_CODE_CAP_REACHED {
		return ", used by " + r.GetEvidence()[0]
	}
	return ": " + r.GetEvidence()[0]
}

// total prints what became of the proposals; it adds up.
func (ms *moments) total() {
	ends, sum := []string{}, 0
	for _, end := range []string{"sent", "suppressed", "superseded", "expired", "withdrawn", "unknown"} {
		if ms.counts[end] > 0 {
			ends = append(ends, fmt.Sprintf("%d %s", ms.counts[end], end))
			sum += ms.counts[end]
		}
	}
	if open := ms.made - sum; open != 0 {
		ends = append(ends, fmt.Sprintf("%d open", open))
	}
	ms.t.out.total(ms.made, ends)
}
