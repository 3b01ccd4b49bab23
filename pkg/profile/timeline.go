package profile

import (
	"cmp"
	"fmt"
	"strings"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// Bounds of a customer's timeline. Every stage keeps its own list, so a customer's takes at most four times their product.
const (
	// TimelineLength is how many lines a stage keeps of one customer: thirty a day for a month.
	TimelineLength = 1000
	// MaxLine is how many bytes a line may have, encoded.
	MaxLine = 1 << 10

	maxEvidence = 100 // bytes of one piece in a line that is too long
)

// CompareLines orders the lines of a timeline: by time, and those of one instant by the round in which they were decided. A
// stable sort with it of all stages' lists, one after another in the order of the flow, puts each cause before what
// follows from it, as far as one clock tells the time.
func CompareLines(a, b *profilev1.TimelineEntry) int {
	return cmp.Or(a.GetAt().AsTime().Compare(b.GetAt().AsTime()), cmp.Compare(a.GetRound(), b.GetRound()))
}

// EncodeLine encodes a line of a timeline in at most MaxLine bytes. Of one that is longer, evidence and remedies are cut
// short first, then the last reasons are left out, then its texts are cut: what happened, to what and why stays. The line
// is not changed.
func EncodeLine(e *profilev1.TimelineEntry) ([]byte, error) {
	if e.SizeVT() > MaxLine {
		e = shortLine(e.CloneVT())
	}
	raw, err := e.MarshalVT()
	if err != nil {
		return nil, fmt.Errorf("encode timeline entry: %w", err)
	}
	return raw, nil
}

func shortLine(e *profilev1.TimelineEntry) *profilev1.TimelineEntry {
	for _, r := range e.GetReasons() {
		shortReason(r)
	}
	for len(e.GetReasons()) > 1 && e.SizeVT() > MaxLine {
		e.Reasons = e.GetReasons()[:len(e.GetReasons())-1]
	}
	if e.SizeVT() > MaxLine {
		e.What, e.Subject, e.Channel, e.Id = short(e.GetWhat()), short(e.GetSubject()), short(e.GetChannel()), short(e.GetId())
	}
	return e
}

func shortReason(r *reasonv1.Reason) {
	if len(r.GetEvidence()) > 1 {
		r.Evidence = r.GetEvidence()[:1]
	}
	for i, text := range r.GetEvidence() {
		r.Evidence[i] = short(text)
	}
	r.Rule, r.Revision, r.Remedy = short(r.GetRule()), short(r.GetRevision()), short(r.GetRemedy())
}

func short(text string) string {
	if len(text) <= maxEvidence {
		return text
	}
	return strings.ToValidUTF8(text[:maxEvidence], "") + "…"
}
