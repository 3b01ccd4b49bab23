package ingestsvc

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// answer is what a publisher that speaks JSON is told.
type answer struct {
	Success bool `json:"success"`
	// Error says why nothing, or not everything, was stored.
	Error string `json:"error,omitempty"`
	// Reason is why not, for programs, such as PARTITION_LAGS; RetryAfter is when to come again, in seconds.
	Reason     string  `json:"reason,omitempty"`
	RetryAfter float64 `json:"retry_after,omitempty"`
	// Refused lists the items that were not accepted; each is kept as a dead letter.
	Refused []refusal `json:"refused,omitempty"`
	// Positions to read from, one per lane and partition, for reading what one just wrote.
	Positions []position `json:"positions,omitempty"`
	// IDs that were made for items which had none.
	IDs []madeID `json:"ids,omitempty"`
	// Remarks say what of accepted items was taken otherwise than it was published.
	Remarks []remark `json:"remarks,omitempty"`
	// Clock is "replay" where time is driven by the events: those of the newest instant are applied when the clock is
	// advanced, since more of them may come.
	Clock string `json:"clock,omitempty"`

	after time.Duration
}

type refusal struct {
	Index      int    `json:"index"`
	Field      string `json:"field"`
	Why        string `json:"why"`
	DeadLetter string `json:"dead_letter"`
}

// remark is about an accepted item: an optional field that could not be used was set aside, a zone was assumed.
type remark struct {
	Index int    `json:"index"`
	Field string `json:"field"`
	Why   string `json:"why"`
}

type position struct {
	Lane      string `json:"lane"`
	Partition uint32 `json:"partition"`
	Sequence  uint64 `json:"sequence"`
}

// String is the position as in the header X-Refrain-Position.
func (p position) String() string { return fmt.Sprintf("%s/%d/%d", p.Lane, p.Partition, p.Sequence) }

type madeID struct {
	Index int    `json:"index"`
	ID    string `json:"id"`
}

// answerTo describes a receipt.
func answerTo(r receipt) answer {
	a := answer{Success: true}
	if r.replay {
		a.Clock = "replay"
	}
	last := map[string]position{}
	for i, res := range r.results {
		if len(res.refused) > 0 {
			a.Refused = append(a.Refused, refusal{Index: i, Field: res.refused[0].Field, Why: whyOf(res), DeadLetter: res.deadLetter})
			continue
		}
		if res.madeID {
			a.IDs = append(a.IDs, madeID{i, res.id})
		}
		for _, r := range remarksOf(res.remarks) {
			a.Remarks = append(a.Remarks, remark{i, r.GetField(), r.GetWhy()})
		}
		p := positionOf(res.position)
		key := fmt.Sprint(p.Lane, "/", p.Partition)
		if p.Sequence > last[key].Sequence {
			last[key] = p
		}
	}
	for _, key := range sortedKeys(last) {
		a.Positions = append(a.Positions, last[key])
	}
	slices.SortFunc(a.Positions, func(x, y position) int {
		return cmp.Or(cmp.Compare(x.Lane, y.Lane), cmp.Compare(x.Partition, y.Partition))
	})
	return a
}

// whyOf is the first problem's reason, with the others named behind it.
func whyOf(r result) string {
	if len(r.refused) == 1 {
		return r.refused[0].Why
	}
	return r.refused[0].Why + "; also " + why(r.refused[1:])
}

func positionOf(p *eventv1.Position) position {
	return position{Lane: p.GetLane(), Partition: p.GetPartition(), Sequence: p.GetSequence()}
}

// header is the value of X-Refrain-Position.
func (a answer) header() string {
	texts := make([]string, len(a.Positions))
	for i, p := range a.Positions {
		texts[i] = p.String()
	}
	return strings.Join(texts, ",")
}

func (a answer) encode() []byte {
	data, err := json.Marshal(a)
	if err != nil {
		panic("an answer has no JSON: " + err.Error()) // texts and numbers only
	}
	return append(data, '\n')
}

// seconds is a Retry-After of at least one second.
func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }
