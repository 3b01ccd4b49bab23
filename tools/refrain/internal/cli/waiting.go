package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
)

// maxLook bounds how many messages after a cover are looked at.
const maxLook = 500

// inputStatus is how far one input is covered.
type inputStatus struct {
	Input string `json:"input"`
	// Last is the input's last position, Covered how far the stage's last record covers it.
	Last    uint64 `json:"last"`
	Covered uint64 `json:"covered"`
	// Waiting counts the items behind the cover that say something; More says that there are more than
	// were counted.
	Waiting int  `json:"waiting"`
	More    bool `json:"more,omitempty"`
}

func (in inputStatus) waiting() string {
	if in.More {
		return fmt.Sprintf("over %d", in.Waiting)
	}
	return fmt.Sprint(in.Waiting)
}

// readInput counts what waits in one input of a partition behind a cover.
func readInput(ctx context.Context, site log.Site, input string, partition int, cover *stagev1.Cover) (inputStatus, error) {
	subject := log.Subject(input, partition)
	in := inputStatus{Input: input, Covered: cover.GetSequence()}
	last, err := site.Last(ctx, subject)
	if errors.Is(err, log.ErrNotFound) {
		return in, nil
	}
	if err != nil {
		return in, fmt.Errorf("read the end of %s: %w", subject, err)
	}
	in.Last = last.Sequence
	after, done := in.Covered, int(cover.GetIndex())
	if after > 0 {
		after-- // the message of the cover may be done in part
	}
	for looked := 0; after < in.Last; looked++ {
		if looked == maxLook {
			in.More = true
			break
		}
		m, err := site.Next(ctx, subject, after)
		if errors.Is(err, log.ErrNotFound) {
			break
		}
		if err != nil {
			return in, fmt.Errorf("read %s: %w", subject, err)
		}
		n, err := says(input, m.Data)
		if err != nil {
			return in, fmt.Errorf("read %s %d: %w", subject, m.Sequence, err)
		}
		if m.Sequence == in.Covered {
			n = n[min(done, len(n)):]
		}
		for _, something := range n {
			if something {
				in.Waiting++
			}
		}
		after = m.Sequence
	}
	return in, nil
}

// says lists the items of a message, and whether each says something.
func says(input string, data []byte) ([]bool, error) {
	switch kind, _, _ := strings.Cut(input, "."); kind {
	case "evt", "redrive":
		var a stagev1.Arrivals
		if err := a.UnmarshalVT(data); err != nil {
			return []bool{true}, nil //nolint:nilerr // it is one input that cannot be understood
		}
		return all(len(a.GetItems())), nil
	case "box":
		var l stagev1.Letter
		err := l.UnmarshalVT(data)
		return all(len(l.GetItems())), err
	}
	var rec stagev1.Record
	if err := rec.UnmarshalVT(data); err != nil {
		return nil, err
	}
	if rec.GetKind() != stagev1.RecordKind_RECORD_KIND_BATCH {
		return nil, nil
	}
	out := all(len(rec.GetCells()))
	for i, c := range rec.GetCells() {
		var body stagev1.CellBody
		if c.GetKeyId() == 0 && body.UnmarshalVT(c.GetSealed()) == nil {
			out[i] = len(body.GetFacts()) > 0
		}
	}
	return out, nil
}

func all(n int) []bool {
	out := make([]bool, n)
	for i := range out {
		out[i] = true
	}
	return out
}
