package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
)

// ledger is what the logs say, collected without any of the code that decided it.
type ledger struct {
	applied   map[string]int    // event id: how often it took effect
	created   map[string]bool   // profiles
	zones     map[string]string // customer: the zone known last
	consents  map[string][]consent
	decisions int
	proposals map[string]*proposal
	notes     []string // what is wrong
	chainGaps int
	settled   bool
}

type consent struct {
	at    time.Time
	given bool
}

type proposal struct {
	action, customer string
	made             bool
	deferred         bool
	ends             []decisionv1.Resolution
}

// read walks every chain from its genesis on, checks that it is unbroken, and collects its facts.
func read(ctx context.Context, broker log.Broker, gen log.Generation) (*ledger, error) {
	l := &ledger{
		applied: map[string]int{}, created: map[string]bool{}, zones: map[string]string{}, consents: map[string][]consent{},
		proposals: map[string]*proposal{},
	}
	for p := range gen.Partitions {
		for chain, take := range map[string]func(string, *stagev1.CellBody) error{"prf": l.profiles, "act": l.actions, "vdc": l.verdicts} {
			if err := l.walk(ctx, broker, log.Subject(chain, p), take); err != nil {
				return nil, err
			}
		}
		if err := l.walk(ctx, broker, log.Subject("snd", p), func(string, *stagev1.CellBody) error { return nil }); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *ledger) walk(ctx context.Context, broker log.Broker, subject string, take func(string, *stagev1.CellBody) error) error {
	last, err := broker.Last(ctx, subject)
	if err != nil {
		return fmt.Errorf("read %s: %w", subject, err)
	}
	feed, err := broker.Feed(ctx, map[string]uint64{subject: 0})
	if err != nil {
		return fmt.Errorf("read %s: %w", subject, err)
	}
	defer feed.Close()
	tail := feed.Tail(subject)
	for prev := uint64(0); prev < last.Sequence; {
		msg, ok := tail.Peek()
		if !ok {
			if err := tail.Err(); err != nil {
				return fmt.Errorf("read %s: %w", subject, err)
			}
			select {
			case <-tail.Wake():
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		tail.Pop()
		rec := &stagev1.Record{}
		if err := rec.UnmarshalVT(msg.Data); err != nil {
			return fmt.Errorf("record %d of %s: %w", msg.Sequence, subject, err)
		}
		if rec.GetPrev() != prev {
			l.note("%s: record %d says it follows %d, but %d is before it", subject, msg.Sequence, rec.GetPrev(), prev)
		}
		prev = msg.Sequence
		for _, c := range rec.GetCells() {
			body := &stagev1.CellBody{}
			if err := body.UnmarshalVT(c.GetSealed()); err != nil {
				return fmt.Errorf("cell of record %d of %s: %w", msg.Sequence, subject, err)
			}
			if err := take(c.GetKey(), body); err != nil {
				return fmt.Errorf("fact in record %d of %s: %w", msg.Sequence, subject, err)
			}
		}
	}
	return nil
}

func (l *ledger) note(format string, args ...any) {
	l.notes = append(l.notes, fmt.Sprintf(format, args...))
}

// customer is the hex id in a state key.
func customer(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

func (l *ledger) profiles(key string, body *stagev1.CellBody) error {
	for _, data := range body.GetFacts() {
		f := &profilev1.Fact{}
		if err := f.UnmarshalVT(data); err != nil {
			return err
		}
		switch v := f.GetFact().(type) {
		case *profilev1.Fact_EventApplied:
			l.applied[v.EventApplied.GetEvent().GetId()]++
			if v.EventApplied.GetCreated() {
				l.created[key] = true
			}
		case *profilev1.Fact_ConsentChanged:
			r := v.ConsentChanged.GetRecord()
			l.consents[customer(key)] = append(l.consents[customer(key)], consent{
				at: r.GetAt().AsTime(), given: r.GetConsent().GetState() == eventv1.ConsentState_CONSENT_STATE_GIVEN,
			})
		}
	}
	if len(body.GetState()) == 0 || !strings.Contains(key, "/c/") {
		return nil
	}
	p := &profilev1.Profile{}
	if err := p.UnmarshalVT(body.GetState()); err != nil {
		return err
	}
	for _, leaf := range p.GetLeaves() {
		if z := leaf.GetZone().GetName(); z != "" {
			l.zones[customer(key)] = z
		}
	}
	return nil
}

func (l *ledger) proposal(id string) *proposal {
	if l.proposals[id] == nil {
		l.proposals[id] = &proposal{}
	}
	return l.proposals[id]
}

func (l *ledger) actions(key string, body *stagev1.CellBody) error {
	for _, data := range body.GetFacts() {
		f := &decisionv1.Fact{}
		if err := f.UnmarshalVT(data); err != nil {
			return err
		}
		switch v := f.GetFact().(type) {
		case *decisionv1.Fact_ProposalMade:
			p := l.proposal(v.ProposalMade.GetProposal().GetId())
			if p.made {
				l.note("proposal %s was made twice", v.ProposalMade.GetProposal().GetId())
			}
			p.made, p.action, p.customer = true, v.ProposalMade.GetProposal().GetAction(), customer(key)
		case *decisionv1.Fact_DecisionMade:
			l.decisions++
		case *decisionv1.Fact_ProposalResolved:
			p := l.proposal(v.ProposalResolved.GetProposal())
			p.ends = append(p.ends, v.ProposalResolved.GetResolution())
		}
	}
	return nil
}

func (l *ledger) verdicts(_ string, body *stagev1.CellBody) error {
	for _, data := range body.GetFacts() {
		f := &contactv1.Fact{}
		if err := f.UnmarshalVT(data); err != nil {
			return err
		}
		switch v := f.GetFact().(type) {
		case *contactv1.Fact_VerdictGiven:
			if v.VerdictGiven.GetKind() == contactv1.VerdictKind_VERDICT_KIND_DEFERRED {
				l.proposal(v.VerdictGiven.GetRequest().GetProposal().GetId()).deferred = true
			}
		case *contactv1.Fact_ProposalResolved:
			p := l.proposal(v.ProposalResolved.GetProposal())
			p.ends = append(p.ends, v.ProposalResolved.GetResolution())
		}
	}
	return nil
}

// deadLetters lists the ids of events that are in the dead-letter streams.
func deadLetters(ctx context.Context, broker log.Broker, gen log.Generation) (map[string]bool, error) {
	ids := map[string]bool{}
	for p := range gen.Partitions {
		for _, stage := range []string{"ingest", "profile"} {
			for after := uint64(0); ; {
				msg, err := broker.Next(ctx, log.Subject(log.DeadLetters(stage), p), after)
				if errors.Is(err, log.ErrNotFound) {
					break
				}
				if err != nil {
					return nil, fmt.Errorf("read the dead letters of %s: %w", stage, err)
				}
				after = msg.Sequence
				dl := &stagev1.DeadLetter{}
				e := &eventv1.Event{}
				if dl.UnmarshalVT(msg.Data) == nil && e.UnmarshalVT(dl.GetPayload()) == nil {
					ids[e.GetId()] = true
				}
			}
		}
	}
	return ids, nil
}
