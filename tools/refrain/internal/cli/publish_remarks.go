package cli

import (
	"fmt"
	"slices"
	"strings"
)

// The bounds of what publish remembers.
const (
	// mostRemarks is how many different remarks are listed.
	mostRemarks = 100
	// mostPlaces is how many places of one remark are listed.
	mostPlaces = 10
	// mostIDs is how many ids are remembered to notice repeats.
	mostIDs = 200_000
)

// remarks are those that say the same about different events.
type remarks struct {
	Field string `json:"field,omitempty"`
	Why   string `json:"why"`
	// Events is how many events it is about, and First the lines (in an array the numbers) of the first of them.
	Events int   `json:"events"`
	First  []int `json:"first"`
}

func (p *published) remark(number int, field, why string) {
	for _, r := range p.Remarks {
		if r.Field == field && r.Why == why {
			r.add(number)
			return
		}
	}
	if len(p.Remarks) == mostRemarks {
		p.MoreRemarks++
		return
	}
	r := &remarks{Field: field, Why: why}
	r.add(number)
	p.Remarks = append(p.Remarks, r)
}

func (r *remarks) add(number int) {
	r.Events++
	at, _ := slices.BinarySearch(r.First, number)
	r.First = slices.Insert(r.First, at, number)
	r.First = r.First[:min(len(r.First), mostPlaces)]
}

// where says which lines or events it is about.
func (r *remarks) where(noun string) string {
	if r.Events > 1 {
		noun += "s"
	}
	text := noun + " " + strings.Trim(strings.ReplaceAll(fmt.Sprint(r.First), " ", ", "), "[]")
	if more := r.Events - len(r.First); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func (r *remarks) text() string { return strings.TrimSpace(r.Field + " " + r.Why) }

// repeats notices ids that came before; it forgets old ones in favour of new ones.
type repeats struct{ now, before map[string]int }

// seen remembers an id and returns the number under which it came before, 0 if it did not.
func (r *repeats) seen(id string, number int) int {
	first := r.now[id]
	if first == 0 {
		first = r.before[id]
	}
	if first > 0 {
		return first
	}
	if r.now == nil || len(r.now) >= mostIDs/2 {
		r.now, r.before = map[string]int{}, r.now
	}
	r.now[id] = number
	return 0
}
