package ledger

import (
	"cmp"
	"fmt"
	"slices"

	"refrain.dev/pkg/log"
)

// Verify holds a history against every rule. It is a pure function: the same history gives the same report.
func Verify(h *History) *Report {
	c := newChecker(h)
	c.readChains()
	c.readLanes()
	c.readBoxes()
	c.readDeadLetters()
	c.checkInputs()
	c.checkLetters()
	c.checkStates()
	c.checkEvents()
	c.checkProposals()
	c.checkSends()
	c.checkContacts()
	c.checkTenants()
	c.checkIdentities()
	c.checkSettled()
	return c.out
}

// The stages, by their place in log.Stages.
const (
	profile = iota
	decision
	suppression
	dispatch
	stages
)

// checker is one check at work.
type checker struct {
	h     *History
	out   *Report
	specs []log.StageSpec
	// inputs of every stage, by their place in a record's covers.
	inputs [stages][]string
	// chains by partition and stage.
	chains [][stages]chain
	decoder
	whole bool // no chain was trimmed

	events    events
	lanes     map[string]*lane
	boxes     map[string]*box
	letters   map[string]deadLetter
	proposals proposals
	waits     waits
	customers map[string]*customer
	contacts  []*contact

	aliases []alias
	regions map[string]string // by tenant

	reservations map[string]*reservation
	sendersOf    map[messageKey][]string // see senders
	inboxes      map[string][]*contact   // by tenant and address
	zones        *Zones
}

func newChecker(h *History) *checker {
	c := &checker{
		h: h, out: &Report{}, specs: log.Stages(), chains: make([][stages]chain, h.Partitions), whole: true,
		decoder: decoder{interned: map[string]string{}}, events: newEvents(), lanes: map[string]*lane{}, boxes: map[string]*box{},
		letters: map[string]deadLetter{}, proposals: proposals{byID: map[string]*proposal{}}, waits: waits{}, customers: map[string]*customer{},
		reservations: map[string]*reservation{}, inboxes: map[string][]*contact{}, zones: cmp.Or(h.Zones, &Zones{}),
	}
	for n, spec := range c.specs {
		c.inputs[n] = slices.Clone(spec.Before)
		if spec.After != "" {
			c.inputs[n] = append(c.inputs[n], spec.After)
		}
		c.inputs[n] = append(c.inputs[n], log.Box(spec.Name), log.Redrive(spec.Name))
	}
	return c
}

// breaks notes a violation about a subject and a key.
func (c *checker) breaksf(rule Rule, subject, key, format string, args ...any) {
	c.out.addf(Violation{Rule: rule, Subject: subject, Key: key}, format, args...)
}

// skipf notes what is not checked.
func (c *checker) skipf(format string, args ...any) {
	c.out.Unchecked = append(c.out.Unchecked, fmt.Sprintf(format, args...))
}

// end is the last sequence of a subject, as far as is known.
func (c *checker) end(subject string) uint64 {
	return max(c.h.Ends[subject], c.lastRead(subject))
}
