package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
)

// Ledger is what the logs say.
type Ledger struct {
	// Applied counts how often an event took effect, by its id.
	Applied map[string]int
	// Profiles holds the rows that events created.
	Profiles map[string]bool
	// Zones is the time zone known last, by customer.
	Zones map[string]string
	// Consents are the permissions as they changed, by customer.
	Consents map[string][]Consent
	// Decisions counts.
	Decisions int
	// Proposals by id.
	Proposals map[string]*Proposal
	// Deliveries by proposal.
	Deliveries map[string]*Delivery
	// Records counts by kind.
	Records map[stagev1.RecordKind]int
	// Notes say what is wrong in itself: broken chains, proposals made twice, intents that nothing allowed.
	Notes []string
}

// Consent is one change of a permission.
type Consent struct {
	At    time.Time
	Given bool
}

// Proposal is one action put forward.
type Proposal struct {
	Action, Customer string
	// Made says that a proposal was made, and not only spoken of; Deferred that it ever was.
	Made, Deferred bool
	// Ends are all resolutions; there should be one.
	Ends []decisionv1.Resolution
}

// Delivery is what dispatch says of one proposal.
type Delivery struct {
	Channel string
	// Intents counts declared calls.
	Intents int
	// Ends are all final reports; there should be one.
	Ends []dispatchv1.Status

	mayCall bool // queued, or provably unsent since the last intent
}

// Read walks all chains of a generation.
func Read(ctx context.Context, broker log.Broker, gen log.Generation) (*Ledger, error) {
	l := &Ledger{
		Applied: map[string]int{}, Profiles: map[string]bool{}, Zones: map[string]string{}, Consents: map[string][]Consent{},
		Proposals: map[string]*Proposal{}, Deliveries: map[string]*Delivery{}, Records: map[stagev1.RecordKind]int{},
	}
	for p := range gen.Partitions {
		for chain, take := range map[string]func(Cell) error{
			"prf": l.profiles, "act": l.actions, "vdc": l.verdicts, "snd": l.sends,
		} {
			broken, err := Walk(ctx, broker, log.Subject(chain, p), func(_ uint64, rec *stagev1.Record, cells []Cell) error {
				l.Records[rec.GetKind()]++
				for _, c := range cells {
					if err := take(c); err != nil {
						return fmt.Errorf("decode fact: %w", err)
					}
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			l.Notes = append(l.Notes, broken...)
		}
	}
	return l, nil
}

func (l *Ledger) notef(format string, args ...any) {
	l.Notes = append(l.Notes, fmt.Sprintf(format, args...))
}

// customer is the hex id in a row's key.
func customer(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

func (l *Ledger) profiles(c Cell) error {
	for _, data := range c.Body.GetFacts() {
		f := &profilev1.Fact{}
		if err := f.UnmarshalVT(data); err != nil {
			return err
		}
		switch v := f.GetFact().(type) {
		case *profilev1.Fact_EventApplied:
			l.Applied[v.EventApplied.GetEvent().GetId()]++
			if v.EventApplied.GetCreated() {
				l.Profiles[c.Key] = true
			}
		case *profilev1.Fact_ConsentChanged:
			r := v.ConsentChanged.GetRecord()
			l.Consents[customer(c.Key)] = append(l.Consents[customer(c.Key)], Consent{
				At: r.GetAt().AsTime(), Given: r.GetConsent().GetState() == eventv1.ConsentState_CONSENT_STATE_GIVEN,
			})
		}
	}
	if len(c.Body.GetState()) == 0 || !strings.Contains(c.Key, "/c/") {
		return nil
	}
	p := &profilev1.Profile{}
	if err := p.UnmarshalVT(c.Body.GetState()); err != nil {
		return err
	}
	for _, leaf := range p.GetLeaves() {
		if z := leaf.GetZone().GetName(); z != "" {
			l.Zones[customer(c.Key)] = z
		}
	}
	return nil
}

func (l *Ledger) proposal(id string) *Proposal {
	if l.Proposals[id] == nil {
		l.Proposals[id] = &Proposal{}
	}
	return l.Proposals[id]
}

func (l *Ledger) actions(c Cell) error {
	for _, data := range c.Body.GetFacts() {
		f := &decisionv1.Fact{}
		if err := f.UnmarshalVT(data); err != nil {
			return err
		}
		switch v := f.GetFact().(type) {
		case *decisionv1.Fact_ProposalMade:
			p := l.proposal(v.ProposalMade.GetProposal().GetId())
			if p.Made {
				l.notef("proposal %s was made twice", v.ProposalMade.GetProposal().GetId())
			}
			p.Made, p.Action, p.Customer = true, v.ProposalMade.GetProposal().GetAction(), customer(c.Key)
		case *decisionv1.Fact_DecisionMade:
			l.Decisions++
		case *decisionv1.Fact_ProposalResolved:
			p := l.proposal(v.ProposalResolved.GetProposal())
			p.Ends = append(p.Ends, v.ProposalResolved.GetResolution())
		}
	}
	return nil
}

func (l *Ledger) verdicts(c Cell) error {
	for _, data := range c.Body.GetFacts() {
		f := &contactv1.Fact{}
		if err := f.UnmarshalVT(data); err != nil {
			return err
		}
		switch v := f.GetFact().(type) {
		case *contactv1.Fact_VerdictGiven:
			if v.VerdictGiven.GetKind() == contactv1.VerdictKind_VERDICT_KIND_DEFERRED {
				l.proposal(v.VerdictGiven.GetRequest().GetProposal().GetId()).Deferred = true
			}
		case *contactv1.Fact_ProposalResolved:
			p := l.proposal(v.ProposalResolved.GetProposal())
			p.Ends = append(p.Ends, v.ProposalResolved.GetResolution())
		}
	}
	return nil
}

func (l *Ledger) delivery(proposal string) *Delivery {
	if l.Deliveries[proposal] == nil {
		l.Deliveries[proposal] = &Delivery{}
	}
	return l.Deliveries[proposal]
}

// sends follows every delivery: a call may be declared only once after it was queued, and again only after
// the one before was provably not made.
func (l *Ledger) sends(c Cell) error {
	for _, data := range c.Body.GetFacts() {
		f := &dispatchv1.Fact{}
		if err := f.UnmarshalVT(data); err != nil {
			return err
		}
		switch v := f.GetFact().(type) {
		case *dispatchv1.Fact_DeliveryQueued:
			d := l.delivery(v.DeliveryQueued.GetProposal())
			if d.Channel != "" {
				l.notef("proposal %s was queued twice", v.DeliveryQueued.GetProposal())
			}
			d.Channel, d.mayCall = v.DeliveryQueued.GetChannel(), true
		case *dispatchv1.Fact_IntentDeclared:
			d := l.delivery(v.IntentDeclared.GetProposal())
			d.Intents++
			if !d.mayCall || len(d.Ends) > 0 {
				l.notef("proposal %s: intent %d was declared, though the one before may have been carried out", v.IntentDeclared.GetProposal(), d.Intents)
			}
			d.mayCall = false
		case *dispatchv1.Fact_DeliveryReported:
			d := l.delivery(v.DeliveryReported.GetProposal())
			if status := v.DeliveryReported.GetStatus(); status != dispatchv1.Status_STATUS_QUEUED {
				d.Ends = append(d.Ends, status)
			}
			d.mayCall = true
		}
	}
	return nil
}

// DeadLetters lists the ids of events that are in the dead-letter streams of ingest and profile.
func DeadLetters(ctx context.Context, broker log.Broker, gen log.Generation) (map[string]bool, error) {
	ids := map[string]bool{}
	for _, stage := range []string{"ingest", "profile"} {
		err := eachDeadLetter(ctx, broker, gen, stage, func(dl *stagev1.DeadLetter) {
			e := &eventv1.Event{}
			if e.UnmarshalVT(dl.GetPayload()) == nil {
				ids[e.GetId()] = true
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// GivenUp describes what any stage gave up, for people.
func GivenUp(ctx context.Context, broker log.Broker, gen log.Generation) ([]string, error) {
	var out []string
	for _, spec := range log.Stages() {
		err := eachDeadLetter(ctx, broker, gen, spec.Name, func(dl *stagev1.DeadLetter) {
			out = append(out, fmt.Sprintf("%s.%d gave up %s/%d/%d: %s %s", dl.GetStage(), dl.GetPartition(), dl.GetInput(), dl.GetSequence(), dl.GetIndex(), dl.GetCode(), dl.GetWhy()))
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func eachDeadLetter(ctx context.Context, broker log.Broker, gen log.Generation, stage string, take func(*stagev1.DeadLetter)) error {
	for p := range gen.Partitions {
		for after := uint64(0); ; {
			msg, err := broker.Next(ctx, log.Subject(log.DeadLetters(stage), p), after)
			if errors.Is(err, log.ErrNotFound) {
				break
			}
			if err != nil {
				return fmt.Errorf("read the dead letters of %s: %w", stage, err)
			}
			after = msg.Sequence
			dl := &stagev1.DeadLetter{}
			if dl.UnmarshalVT(msg.Data) == nil {
				take(dl)
			}
		}
	}
	return nil
}
