package shop

import (
	"math/rand/v2"
	"time"

	"refrain.dev/pkg/simulate"
	"refrain.dev/pkg/simulate/schedule"
	"refrain.dev/tools/ledger"
)

// Beyond makes the schedule of a seed with one fault that is outside of what Refrain promises to survive: the log
// loses what it had acknowledged, a stream is made anew, the state store is ahead of its chain.
func Beyond(seed uint64) schedule.Schedule {
	rng := rand.New(rand.NewPCG(seed, 0xbe)) //nolint:gosec // a seed decides everything
	s := schedule.Schedule{Operations: operations(seed)}
	f := schedule.Fault{When: schedule.When{At: time.Duration(5+rng.IntN(15)) * time.Second}}
	streams := []string{"PROFILES-g1-0", "ACTIONS-g1-0", "VERDICTS-g1-0", "SENDS-g1-0"}
	switch rng.IntN(3) {
	case 0:
		f.What, f.On, f.Count = schedule.Suffix, "stream:"+streams[rng.IntN(len(streams))], 1+rng.IntN(6)
	case 1:
		streams = append(streams, "EVENTS-g1-0", "BOXES-g1-0", "REDRIVE-g1-0")
		f.What, f.On = schedule.Recreated, "stream:"+streams[rng.IntN(len(streams))]
	default:
		stages := []string{"profile", "decision", "suppression", "dispatch"}
		f.What, f.Count = schedule.Ahead, 1+rng.IntN(50)
		f.On = "state:" + string(rune('0'+rng.IntN(partitions))) + "/" + stages[rng.IntN(len(stages))]
	}
	s.Faults = []schedule.Fault{f}
	return s
}

// Noticed says whether a run beyond the model stopped where it had to, and harmed nobody: a partition halted, and
// no rule about sends was broken by what went on.
func Noticed(r simulate.Result) (halted bool, harm []simulate.Violation) {
	for _, v := range r.Violations {
		switch v.Rule { // a permission that was lost with the log cannot be found in it
		case string(ledger.SendTwice), string(ledger.ContactCap), string(ledger.ContactOptOut), simulate.RulePanic:
			harm = append(harm, v)
		}
	}
	return r.Goals["point.stage.halted"] > 0, harm
}
