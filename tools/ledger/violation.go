package ledger

import "fmt"

// Rule names what was broken. The set is closed.
type Rule string

// The rules about chains.
const (
	// ChainUnreadable: a message cannot be decoded.
	ChainUnreadable Rule = "chain.unreadable"
	// ChainStart: a chain begins with anything but its genesis.
	ChainStart Rule = "chain.start"
	// ChainLink: a record does not name the one before it.
	ChainLink Rule = "chain.link"
	// ChainSequence: sequences do not increase.
	ChainSequence Rule = "chain.sequence"
	// ChainRepeat: one append stands in a chain twice.
	ChainRepeat Rule = "chain.repeat"
	// ChainGeneration: a record is of another generation.
	ChainGeneration Rule = "chain.generation"
	// ChainTime: a record is decided before the one before it, though no operator has mended the chain between.
	ChainTime Rule = "chain.time"
	// ChainEarly: a record is decided at a time more than 2 s ahead of the one at which it is stored.
	ChainEarly Rule = "chain.early"
	// ChainOwner: a record was appended under an OPEN that is not the last, or by another owner than that one's.
	ChainOwner Rule = "chain.owner"
	// ChainCover: covers go back, leave an input out, or are beyond what there is.
	ChainCover Rule = "chain.cover"
	// ChainOrigin: origins go back, or are beyond what is covered.
	ChainOrigin Rule = "chain.origin"
	// ChainSender: the position of a mailbox sender goes back, or is of a fact that it never sent.
	ChainSender Rule = "chain.sender"
	// ChainRevision: a catalog that was applied earlier takes effect after a later one, or one that was never applied.
	ChainRevision Rule = "chain.revision"
	// ChainGap: an input was given up, but is in no dead letter, or in one without a reason.
	ChainGap Rule = "chain.gap"
	// ChainRedrive: a dead letter took effect when it came back, though its input was not given up, or a second time.
	ChainRedrive Rule = "chain.redrive"
	// ChainSize: a record, a state in it or a mailbox message is larger than what may be written.
	ChainSize Rule = "chain.size"
)

// The rules about letters between partitions.
const (
	// LetterForged: a letter says what the chain of its sender does not.
	LetterForged Rule = "letter.forged"
	// LetterOrder: a letter overtook an earlier one of its sender.
	LetterOrder Rule = "letter.order"
	// LetterTwice: an addressed fact was applied twice.
	LetterTwice Rule = "letter.twice"
	// LetterLost: an addressed fact never came to its mailbox.
	LetterLost Rule = "letter.lost"
)

// The rules about the state store: it is the fold of the chain up to the record that its meta names.
const (
	StateAhead  Rule = "state.ahead"
	StateBehind Rule = "state.behind"
	StateMeta   Rule = "state.meta"
	StateRow    Rule = "state.row"
	StateTimer  Rule = "state.timer"
	StateList   Rule = "state.list"
	StateSet    Rule = "state.set"
)

// The rules about events.
const (
	// EventLost: an acknowledged event is not stored, or neither took effect nor is a dead letter.
	EventLost Rule = "event.lost"
	// EventTwice: an event took effect twice within the dedupe horizon.
	EventTwice Rule = "event.twice"
	// EventForged: an event took effect, or is stored, that nobody sent.
	EventForged Rule = "event.forged"
	// EventAhead: an event counts as of a time after its arrival.
	EventAhead Rule = "event.ahead"
	// EventClosed: an event took effect in a profile that is closed: its person goes on in another.
	EventClosed Rule = "event.closed"
)

// The rules about who is who.
const (
	// IdentitySplit: what was published under one address took effect on customers who are not one.
	IdentitySplit Rule = "identity.split"
	// IdentityMerged: customers of two user_ids have become one.
	IdentityMerged Rule = "identity.merged"
	// IdentityAlias: an alias of two known customers is not refused in the timelines of both.
	IdentityAlias Rule = "identity.alias"
)

// The rules about tenants: what one does is nothing to another.
const (
	// TenantEvent: an event took effect on another tenant's customer.
	TenantEvent Rule = "tenant.event"
	// TenantDefinitions: what one tenant applied changed what another has, or a customer was judged by what is not the
	// own tenant's.
	TenantDefinitions Rule = "tenant.definitions"
)

// The rules about proposals and deliveries.
const (
	// ProposalTwice: a proposal was made twice.
	ProposalTwice Rule = "proposal.twice"
	// ProposalForged: a proposal is spoken of that was never made.
	ProposalForged Rule = "proposal.forged"
	// ProposalEnds: a proposal ended more than once.
	ProposalEnds Rule = "proposal.ends"
	// ProposalAccount: how a proposal ended is not what the providers have.
	ProposalAccount Rule = "proposal.account"
	// DeliveryQueued: a delivery was taken over twice.
	DeliveryQueued Rule = "delivery.queued"
	// DeliveryIntent: a call was declared though the one before may have been made, or the delivery had ended.
	DeliveryIntent Rule = "delivery.intent"
	// DeliveryEnds: a delivery ended more than once.
	DeliveryEnds Rule = "delivery.ends"
)

// The rules about sends.
const (
	// SendTwice: a proposal was sent more than once, or the provider made several messages of it.
	SendTwice Rule = "send.twice"
	// SendKey: repeats carry different keys, two proposals carry the same, or a repeat came after the window.
	SendKey Rule = "send.key"
	// SendForged: a request is about a proposal that was never made, or for another customer or channel.
	SendForged Rule = "send.forged"
	// SendIntent: a request was made without an INTENT before it.
	SendIntent Rule = "send.intent"
	// SendApproval: an INTENT was declared without an approval before it.
	SendApproval Rule = "send.approval"
	// SendExpired: an INTENT was declared after its approval had expired.
	SendExpired Rule = "send.expired"
)

// The rules about contact.
const (
	// ContactCap: a cap was exceeded.
	ContactCap Rule = "contact.cap"
	// ContactAddress: at one address a cap was exceeded or a gap not kept, counting the contacts with everybody who
	// was reached there.
	ContactAddress Rule = "contact.address"
	// ContactGap: a contact was made too soon after another one.
	ContactGap Rule = "contact.gap"
	// ContactQuiet: a contact was made in quiet hours.
	ContactQuiet Rule = "contact.quiet"
	// ContactConsent: a contact was approved that the profile did not permit.
	ContactConsent Rule = "contact.consent"
	// ContactOptOut: a contact was made later than the bound after an acknowledged opt-out.
	ContactOptOut Rule = "contact.opt_out"
	// ContactRoom: a caller's room was taken while it was held, or used or freed while it was not.
	ContactRoom Rule = "contact.room"
)

// The rules about a settled mesh.
const (
	// SettledUncovered: an input that leads to something is not covered.
	SettledUncovered Rule = "settled.uncovered"
	// SettledOpen: a proposal that was chosen, or a delivery, has no end.
	SettledOpen Rule = "settled.open"
	// SettledDue: a wake-up is due.
	SettledDue Rule = "settled.due"
	// SettledWaits: a wait of a journey is over and has not led on.
	SettledWaits Rule = "settled.waits"
)

// Rules lists all rules.
func Rules() []Rule {
	return []Rule{
		ChainUnreadable, ChainStart, ChainLink, ChainSequence, ChainRepeat, ChainGeneration, ChainTime, ChainEarly, ChainOwner, ChainCover, ChainOrigin,
		ChainSender, ChainRevision, ChainGap, ChainRedrive, ChainSize, LetterForged, LetterOrder, LetterTwice, LetterLost, StateAhead, StateBehind, StateMeta,
		StateRow, StateTimer, StateList, StateSet, EventLost, EventTwice, EventForged, EventAhead, EventClosed, IdentitySplit, IdentityMerged, IdentityAlias, TenantEvent, TenantDefinitions, ProposalTwice, ProposalForged,
		ProposalEnds, ProposalAccount, DeliveryQueued, DeliveryIntent, DeliveryEnds, SendTwice, SendKey, SendForged, SendIntent, SendApproval,
		SendExpired, ContactCap, ContactAddress, ContactGap, ContactQuiet, ContactConsent, ContactOptOut, ContactRoom, SettledUncovered, SettledOpen, SettledDue, SettledWaits,
	}
}

// Violation is one place where a rule is broken.
type Violation struct {
	Rule Rule `json:"rule"`
	// Subject is the chain, lane or mailbox, or the state's shard, if it is about one.
	Subject string `json:"subject,omitempty"`
	// Key is the row, event, proposal or customer that it is about.
	Key string `json:"key,omitempty"`
	// What is wrong, in one sentence.
	What string `json:"what"`
}

// String is the violation in one line.
func (v Violation) String() string {
	where := v.Subject
	if v.Key != "" {
		if where != "" {
			where += " "
		}
		where += v.Key
	}
	return fmt.Sprintf("%s: %s: %s", v.Rule, where, v.What)
}

// MaxViolations is how many violations a report lists; all are counted.
const MaxViolations = 1000

// Report is what a check came to.
type Report struct {
	// Violations in the order in which they were found: the same for the same history.
	Violations []Violation `json:"violations"`
	// Count is how many there are, also of those that are not listed, and Broken how many of each rule.
	Count  int          `json:"count"`
	Broken map[Rule]int `json:"broken,omitempty"`
	// Totals of what was counted.
	Totals Totals `json:"totals"`
	// Records counts the records of all chains, OpenDeliveries the deliveries that have no end.
	Records        int `json:"records"`
	OpenDeliveries int `json:"open_deliveries"`
	// Unchecked says what was not checked, and why.
	Unchecked []string `json:"unchecked"`
}

func (r *Report) addf(v Violation, format string, args ...any) {
	if r.Broken == nil {
		r.Broken = map[Rule]int{}
	}
	r.Count++
	r.Broken[v.Rule]++
	switch v.Rule {
	case EventLost:
		r.Totals.Lost++
	case EventTwice, SendTwice:
		r.Totals.Duplicates++
	default:
	}
	if len(r.Violations) < MaxViolations {
		v.What = fmt.Sprintf(format, args...)
		r.Violations = append(r.Violations, v)
	}
}

// Totals is what the check counted. Proposals are the sum of Sent to Open; Deferred is outside the sum.
type Totals struct {
	Events       int `json:"events"`
	Profiles     int `json:"profiles"`
	Decisions    int `json:"decisions"`
	Proposals    int `json:"proposals"`
	Sent         int `json:"sent"`
	Suppressed   int `json:"suppressed"`
	Superseded   int `json:"superseded"`
	Expired      int `json:"expired"`
	Withdrawn    int `json:"withdrawn"`
	Unknown      int `json:"unknown"`
	Open         int `json:"open"`
	Deferred     int `json:"deferred"`
	Lost         int `json:"lost"`
	Duplicates   int `json:"duplicates"`
	CapsExceeded int `json:"caps_exceeded"`
}

// String is the totals in one line.
func (t Totals) String() string {
	return fmt.Sprintf("events=%d profiles=%d decisions=%d proposals=%d sent=%d suppressed=%d superseded=%d expired=%d withdrawn=%d unknown=%d open=%d deferred=%d lost=%d duplicates=%d caps_exceeded=%d",
		t.Events, t.Profiles, t.Decisions, t.Proposals, t.Sent, t.Suppressed, t.Superseded, t.Expired, t.Withdrawn, t.Unknown,
		t.Open, t.Deferred, t.Lost, t.Duplicates, t.CapsExceeded)
}
