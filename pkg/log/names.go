package log

import "fmt"

// Every name on the bus is made here and nowhere else.

// Lanes of EVENTS, in the order in which they are drained.
const (
	// LaneControl carries consent, complaints, kill switches, catalogs and barriers.
	LaneControl = "control"
	// LaneLive carries what happens now.
	LaneLive = "live"
	// LaneBulk carries imports; it is read while what follows keeps up.
	LaneBulk = "bulk"
)

// Barrier is the origin that pings advance, beside the control lane's: the position of the control lane up to
// which everything is covered, pings included. The lane's own origin stands still for pings, so that a ping
// moves the first stage only and not all of them.
const Barrier = "barrier"

// Lanes lists the lanes in draining order.
func Lanes() []string { return []string{LaneControl, LaneLive, LaneBulk} }

// StageSpec says how one stage stands in the log.
type StageSpec struct {
	// Name of the stage: profile, decision, suppression, dispatch.
	Name string
	// Chain is the prefix of its output chain.
	Chain string
	// Before lists its inputs from before it: lanes of EVENTS or the chain before.
	Before []string
	// After is the chain after it, empty if it reads none.
	After string
}

// Stages lists the stages in the order in which a customer's event passes them.
func Stages() []StageSpec {
	return []StageSpec{
		{Name: "profile", Chain: "prf", Before: []string{"evt.control", "evt.live", "evt.bulk"}},
		{Name: "decision", Chain: "act", Before: []string{"prf"}, After: "vdc"},
		{Name: "suppression", Chain: "vdc", Before: []string{"act"}, After: "snd"},
		{Name: "dispatch", Chain: "snd", Before: []string{"vdc"}},
	}
}

// Stage returns the spec of a stage by name; it panics for a name that is not in Stages.
func Stage(name string) StageSpec {
	for _, s := range Stages() {
		if s.Name == name {
			return s
		}
	}
	panic("no stage " + name)
}

// Subject is an input's or chain's subject in one partition: Subject("evt.live", 3) is "evt.live.3".
func Subject(prefix string, partition int) string { return fmt.Sprintf("%s.%d", prefix, partition) }

// Lane is the subject prefix of a lane.
func Lane(lane string) string { return "evt." + lane }

// Box is the subject prefix of a stage's mailbox.
func Box(stage string) string { return "box." + stage }

// Redrive is the subject prefix on which a stage's dead letters come back.
func Redrive(stage string) string { return "redrive." + stage }

// DeadLetters is the subject prefix of a stage's dead letters; "ingest" has one too.
func DeadLetters(stage string) string { return "dlq." + stage }

// DecisionLog is the subject prefix of the decision log.
const DecisionLog = "dcn"

// PublishSubject is where publishers on NATS send events (request-reply): publish.<tenant>. It is core
// NATS, not a stream.
const PublishSubject = "publish"
