package shop

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"refrain.dev/pkg/simulate/schedule"
)

// points are the named places of the services at which a process may die.
func points() []string {
	return []string{
		"ingest.stored", "ingest.answered",
		"stage.opened", "stage.appended", "stage.applied", "stage.answered", "stage.called", "stage.copied",
		"stage.attempted", "stage.untimely", "stage.deadlettered", "stage.relayed", "stage.saved", "stage.orphaned",
		"dispatch.pinged", "dispatch.checked", "dispatch.sent", "dispatch.looked",
		"snapshot.stored", "snapshot.verified", "snapshot.listed", "snapshot.trimmed", "snapshot.restored",
	}
}

// profile says what goes wrong in a run.
func profile(seed uint64) schedule.Profile {
	p := schedule.Profile{
		Least: 3, Most: 14, Steps: 12_000, Span: 40 * time.Second, AtPoints: 40, Passes: 25, Longest: 12 * time.Second,
		Weights: []schedule.Weight{
			{Kind: schedule.Crash, Weight: 14}, {Kind: schedule.Stop, Weight: 3}, {Kind: schedule.Pause, Weight: 8},
			{Kind: schedule.ClockStep, Weight: 2}, {Kind: schedule.ClockDrift, Weight: 1},
			{Kind: schedule.Lost, Weight: 5}, {Kind: schedule.LostRead, Weight: 3}, {Kind: schedule.Applied, Weight: 9},
			{Kind: schedule.Late, Weight: 8}, {Kind: schedule.Slow, Weight: 3}, {Kind: schedule.Unavailable, Weight: 4},
			{Kind: schedule.Pending, Weight: 2}, {Kind: schedule.Full, Weight: 2}, {Kind: schedule.Held, Weight: 4},
			{Kind: schedule.Partial, Weight: 4}, {Kind: schedule.Forgets, Weight: 5}, {Kind: schedule.Wiped, Weight: 3},
			{Kind: schedule.Double, Weight: 3},
		},
		Targets: schedule.Targets{
			Nodes: nodes(), Points: points(),
			Places: map[schedule.Class][]string{
				schedule.Log: {
					"prf.", "act.", "vdc.", "snd.", "evt.control.", "evt.live.", "evt.bulk.", "box.", "dlq.",
				},
				schedule.Feed:    {"prf.", "act.", "vdc.", "snd.", "evt.control.", "evt.", "box."},
				schedule.KV:      {"relay/", "bundle/", "catalog/", "profile-g1.", "suppression-g1.", "dispatch-g1.", "decision-g1.", ""},
				schedule.Object:  {"bundles/"},
				schedule.State:   {"0", "1", "0/profile", "1/decision", "0/suppression", "1/dispatch"},
				schedule.RPC:     {"ingest-0", "ingest-1", "suppression-", "decision-"},
				schedule.Outside: {"email", "sms", "desk"},
				schedule.Stream:  {"PROFILES-g1-0", "ACTIONS-g1-0", "VERDICTS-g1-0", "SENDS-g1-0", "EVENTS-g1-0"},
			},
		},
	}
	switch seed % 8 {
	case 0: // little goes wrong: the mesh has to work at all
		p.Least, p.Most = 0, 2
	case 1: // two things meet
		p.Least, p.Most = 2, 3
	case 2: // much at once
		p.Least, p.Most = 15, 30
	}
	return p
}

// Generate makes the schedule of a seed.
func Generate(seed uint64) schedule.Schedule {
	s := schedule.Schedule{Operations: operations(seed)}
	for _, f := range schedule.Generate(seed, profile(seed)) {
		s.Faults = append(s.Faults, tamed(f, seed))
	}
	s.Faults = append(s.Faults, setBack(s.Faults, seed)...)
	for _, more := range []schedule.Schedule{combined(seed), secondsOperations(seed), knownOtherwise(seed)} {
		s.Operations, s.Faults = append(s.Operations, more.Operations...), append(s.Faults, more.Faults...)
	}
	// Each client does its operations in this order.
	slices.SortStableFunc(s.Operations, func(a, b schedule.Operation) int { return cmp.Compare(a.At, b.At) })
	return s
}

// setBack are faults that end others: a clock that was set by more than what the mesh takes for equal stands still
// what its process owns, so as a rule somebody sets it right.
func setBack(faults []schedule.Fault, seed uint64) []schedule.Fault {
	rng := rand.New(rand.NewPCG(seed, 0x5e7)) //nolint:gosec // a seed decides everything
	var all []schedule.Fault
	for _, f := range faults {
		if f.What == schedule.ClockStep && f.When.Point == "" && f.When.Step == 0 && rng.IntN(4) > 0 {
			f.When.At += between(rng, time.Second, 15*time.Second)
			f.For = -f.For
			all = append(all, f)
		}
	}
	return all
}

// tamed keeps faults inside the model: a provider that makes two messages of one request is outside of it. Clocks are
// set by less than a second, by seconds, and by days.
func tamed(f schedule.Fault, seed uint64) schedule.Fault {
	rng := rand.New(rand.NewPCG(seed, 0x7a)) //nolint:gosec // a seed decides everything
	class, _ := schedule.Place(f.On)
	if f.What == schedule.Double && class != schedule.Log && class != schedule.RPC {
		f.On = "log:box."
	}
	if rare(f.When.Point) {
		f.When.Pass = 1 + (f.When.Pass-1)%3
		if spec, _ := schedule.SpecOf(f.What); spec.Node {
			f.Node = "" // whoever passes it: most nodes never do
		}
	}
	if f.What == schedule.Crash || f.What == schedule.Stop {
		f.For = min(max(f.For, 50*time.Millisecond), 8*time.Second)
	}
	if f.What == schedule.ClockStep {
		switch rng.IntN(4) {
		case 0:
			f.For /= 10
		case 1, 2:
			f.For = days(rng)
		}
	}
	return f
}

// days is a step of a clock that was set wrongly, forwards or backwards.
func days(rng *rand.Rand) time.Duration {
	d := time.Duration(1+rng.IntN(40)) * 24 * time.Hour
	if rng.IntN(2) == 0 {
		return -d
	}
	return d
}

// rare says whether a point is passed a few times in a run only.
func rare(point string) bool {
	switch point {
	case "stage.opened", "stage.copied", "stage.attempted", "stage.untimely", "stage.deadlettered", "stage.orphaned", "stage.saved":
		return true
	default:
		return strings.HasPrefix(point, "dispatch.") || strings.HasPrefix(point, "snapshot.")
	}
}
