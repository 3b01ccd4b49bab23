package consent

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
)

// maxBeside is how many withdrawals, and how many permissions, are kept about one channel and topic. More than one
// of a kind matters only where times that are claimed fall while arrivals go on; what is dropped beyond permits less.
const maxBeside = 4

// Put adds a statement, with those beside it, and returns the new list, sorted by channel and topic, and whether it
// changed. The order in which statements are put does not matter, nor do repeats. The arguments are not changed.
func Put(records []*profilev1.ConsentRecord, r *profilev1.ConsentRecord) ([]*profilev1.ConsentRecord, bool) {
	i, found := slices.BinarySearchFunc(records, r, compareKeys)
	if !found {
		return slices.Insert(slices.Clone(records), i, settle(statements(r))), true
	}
	next := settle(append(statements(records[i]), statements(r)...))
	if next.EqualVT(records[i]) {
		return records, false
	}
	out := slices.Clone(records)
	out[i] = next
	return out, true
}

// Alone is a record without the statements beside it: what was said.
func Alone(r *profilev1.ConsentRecord) *profilev1.ConsentRecord {
	if len(r.GetBeside()) == 0 {
		return r
	}
	out := r.CloneVT()
	out.Beside = nil
	return out
}

// Lifts says whether a permission lifts a withdrawal: it arrived later and claims a time not before the
// withdrawal's.
func Lifts(permission, withdrawal *profilev1.ConsentRecord) bool {
	return later(permission, withdrawal) && !at(permission).Before(at(withdrawal))
}

// later says whether a certainly arrived after b. Under one identifier, places in its lane say so. Under two, both
// clocks must say so, ingest's and the broker's: none of them alone lets a permission overtake a withdrawal. Of what
// came back from the dead letters only ingest's clock is known; that is not certain enough for a permission.
func later(a, b *profilev1.ConsentRecord) bool {
	x, y := a.GetArrived(), b.GetArrived()
	if x.GetSequence() > 0 && y.GetSequence() > 0 && bytes.Equal(x.GetUnder(), y.GetUnder()) {
		return cmp.Or(cmp.Compare(x.GetSequence(), y.GetSequence()), cmp.Compare(x.GetIndex(), y.GetIndex())) > 0
	}
	if x != nil && x.GetStoredAt() == nil || y.GetStoredAt() != nil && !x.GetStoredAt().AsTime().After(y.GetStoredAt().AsTime()) {
		return false
	}
	return received(a).After(received(b))
}

// statements lists a record and those beside it.
func statements(r *profilev1.ConsentRecord) []*profilev1.ConsentRecord {
	return append([]*profilev1.ConsentRecord{r}, r.GetBeside()...)
}

// settle makes one entry of statements about one channel and topic: the one in force, with those that may still count
// beside it. A permission that does not lift every withdrawal never counts again.
func settle(all []*profilev1.ConsentRecord) *profilev1.ConsentRecord {
	for i, r := range all {
		all[i] = Alone(r)
	}
	no := join(frontier(filter(all, Withdraws)))
	yes := few(frontier(lifting(no, filter(all, given))))
	force := strongest(yes)
	if force == nil {
		force = latest(no)
	}
	beside := slices.DeleteFunc(append(yes, no...), func(r *profilev1.ConsentRecord) bool { return r == force })
	if len(beside) == 0 {
		return force
	}
	force = force.CloneVT()
	force.Beside = beside
	return force
}

// lifting returns the permissions that lift every withdrawal.
func lifting(no, yes []*profilev1.ConsentRecord) []*profilev1.ConsentRecord {
	return filter(yes, func(p *profilev1.ConsentRecord) bool {
		return !slices.ContainsFunc(no, func(w *profilev1.ConsentRecord) bool { return !Lifts(p, w) })
	})
}

// frontier leaves out what another one makes pointless, which arrived later and claims no earlier time, and repeats;
// sorted by arrival.
func frontier(list []*profilev1.ConsentRecord) []*profilev1.ConsentRecord {
	slices.SortFunc(list, compareArrival)
	list = slices.CompactFunc(list, (*profilev1.ConsentRecord).EqualVT)
	return filter(list, func(r *profilev1.ConsentRecord) bool {
		return !slices.ContainsFunc(list, func(other *profilev1.ConsentRecord) bool { return other != r && Lifts(other, r) })
	})
}

// join makes one of the withdrawals that arrived first while there are too many: what lifts it lifts both.
func join(no []*profilev1.ConsentRecord) []*profilev1.ConsentRecord {
	for len(no) > maxBeside {
		first, second := no[0], no[1].CloneVT()
		if at(first).After(at(second)) {
			second.At = first.GetAt()
		}
		no = append([]*profilev1.ConsentRecord{second}, no[2:]...)
	}
	return no
}

// few sorts permissions, the strongest first; of too many it keeps the strongest and the one that arrived last.
func few(yes []*profilev1.ConsentRecord) []*profilev1.ConsentRecord {
	slices.SortFunc(yes, compareStrength)
	if len(yes) <= maxBeside {
		return yes
	}
	last := slices.MaxFunc(yes[maxBeside-1:], compareArrival)
	return append(yes[:maxBeside-1:maxBeside-1], last)
}

// strongest is the permission that counts among some: the one that claims the latest time.
func strongest(yes []*profilev1.ConsentRecord) *profilev1.ConsentRecord {
	if len(yes) == 0 {
		return nil
	}
	return slices.MinFunc(yes, compareStrength)
}

// latest is the withdrawal that arrived last.
func latest(no []*profilev1.ConsentRecord) *profilev1.ConsentRecord {
	return slices.MaxFunc(no, compareArrival)
}

func compareStrength(a, b *profilev1.ConsentRecord) int {
	return cmp.Or(at(b).Compare(at(a)), received(b).Compare(received(a)), ends(a).Compare(ends(b)), cmp.Compare(a.GetCause(), b.GetCause()))
}

func compareArrival(a, b *profilev1.ConsentRecord) int {
	return cmp.Or(received(a).Compare(received(b)), at(a).Compare(at(b)), cmp.Compare(a.GetCause(), b.GetCause()), ends(b).Compare(ends(a)))
}

// received is when ingest took a statement; what says nothing about its arrival arrived when it was made.
func received(r *profilev1.ConsentRecord) time.Time {
	if r.GetArrived().GetReceivedAt() == nil {
		return at(r)
	}
	return r.GetArrived().GetReceivedAt().AsTime()
}

func filter(list []*profilev1.ConsentRecord, keep func(*profilev1.ConsentRecord) bool) []*profilev1.ConsentRecord {
	var out []*profilev1.ConsentRecord
	for _, r := range list {
		if keep(r) {
			out = append(out, r)
		}
	}
	return out
}
