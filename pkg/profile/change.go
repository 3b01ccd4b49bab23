package profile

import (
	"bytes"
	"encoding/hex"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// Change is what follows from one input. The zero Change means that nothing does.
type Change struct {
	// Row is the identifier's row afterwards; nil if it stays.
	Row *profilev1.IdentifierRow
	// SeenOn is the day under which the event's id is to be noted at its identifier; 0 if it is not.
	SeenOn Day
	// DroppedDays are the days whose sets of seen ids are to be removed.
	DroppedDays []Day
	// Profile afterwards; nil if it stays.
	Profile *profilev1.Profile
	// Facts about the profile, in order.
	Facts []*profilev1.Fact
	// Timeline lines to append, in order.
	Timeline []*profilev1.TimelineEntry
	// Letters to other partitions, in order.
	Letters []Posted
	// Quarantined names the properties and traits whose value did not have the declared type, once per value.
	Quarantined []string
}

// Posted is a letter on its way.
type Posted struct {
	Partition int
	Letter    *profilev1.Letter
}

// Moment is when something is decided, and by what.
type Moment struct {
	// Now is the stage's time.
	Now time.Time
	// DeadLetter is the id of the dead letter that the input was; empty if it was none.
	DeadLetter string
	// Arrived says when and where an event that is applied came in, if it says something about permission.
	Arrived *profilev1.Arrived
}

// draft is a profile while an input is applied to it.
type draft struct {
	rules *Rules
	p     *profilev1.Profile
	leaf  *profilev1.Leaf
	out   Change
	basis bool // what contact depends on changed

	remarks []*reasonv1.Reason // what of the input was not taken as it came
}

// open copies p for changing.
func (r *Rules) open(p *profilev1.Profile) *draft {
	d := &draft{rules: r, p: p.CloneVT()}
	if len(d.p.GetLeaves()) == 0 {
		d.p.Leaves = []*profilev1.Leaf{{ProfileId: d.p.GetId()}}
	}
	d.leaf = d.p.GetLeaves()[0]
	return d
}

// close counts the change and returns it. BasisChanged comes before the facts that were kept for last.
func (d *draft) close(last ...*profilev1.Fact) Change {
	if d.basis {
		d.fact(&profilev1.Fact{Fact: &profilev1.Fact_BasisChanged{BasisChanged: &profilev1.BasisChanged{}}})
	}
	d.out.Facts = append(d.out.Facts, last...)
	d.p.Version++
	d.out.Profile = d.p
	return d.out
}

func (d *draft) fact(f *profilev1.Fact) { d.out.Facts = append(d.out.Facts, f) }

func (d *draft) line(now time.Time, what, subject, id string) *profilev1.TimelineEntry {
	e := &profilev1.TimelineEntry{At: timestamppb.New(now), Stage: stageName, What: what, Subject: subject, Id: id}
	d.out.Timeline = append(d.out.Timeline, e)
	return e
}

func (d *draft) post(partition int, l *profilev1.Letter) {
	d.out.Letters = append(d.out.Letters, Posted{Partition: partition, Letter: l})
}

// redriven removes the gap that a dead letter had left, and says whether it had left one.
func (d *draft) redriven(deadLetter string) bool {
	if deadLetter == "" {
		return false
	}
	for i, g := range d.p.GetGaps() {
		if g.GetDeadLetter() == deadLetter {
			d.p.Gaps = append(d.p.Gaps[:i:i], d.p.Gaps[i+1:]...)
			d.basis = true
			return true
		}
	}
	return false
}

// hasGap says whether a dead letter left a gap in p.
func hasGap(p *profilev1.Profile, deadLetter string) bool {
	for _, g := range p.GetGaps() {
		if deadLetter != "" && g.GetDeadLetter() == deadLetter {
			return true
		}
	}
	return false
}

const stageName = "profile"

func same(a, b []byte) bool { return bytes.Equal(a, b) }

func text(id []byte) string { return hex.EncodeToString(id) }
