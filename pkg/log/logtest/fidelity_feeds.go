package logtest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"refrain.dev/pkg/log"
)

// maxFeeds bounds how many are open.
const maxFeeds = 4

// openFeed opens a feed of some subjects, mostly of one stream.
func (f *fidelity) openFeed() {
	if len(f.open) >= maxFeeds {
		return
	}
	from := map[string]uint64{}
	sets := [][]string{{"prf.0"}, {"prf.0", "prf.1"}, {"evt.live.0", "evt.live.1", "evt.bulk.0"}, {"box.profile.0"}, {"evt.live.0", "evt.live.1", "evt.bulk.0"},
		oneOf(f.rt, "odd", nil, []string{"prf.0", "evt.live.0"}, []string{"nowhere.0"})}
	for _, subject := range oneOf(f.rt, "subjects", sets...) {
		if from[subject] = 0; evenly(3).Draw(f.rt, "from") > 0 {
			from[subject] = f.position(subject, "from")
		}
	}
	answer := f.both(fmt.Sprintf("open a feed from %v", from), func(s *side) string {
		feed, err := s.site.Feed(f.ctx, from)
		if err == nil {
			s.feeds = append(s.feeds, feed)
		}
		return said(err)
	})
	if answer != "ok" {
		return
	}
	subjects := map[string]bool{"evt.live.7": false} // one that no feed reads
	for subject := range from {
		subjects[subject] = true
	}
	f.open = append(f.open, subjects)
}

// feed draws an open one.
func (f *fidelity) feed() (int, bool) {
	if len(f.open) == 0 {
		return 0, false
	}
	return rapid.IntRange(0, len(f.open)-1).Draw(f.rt, "feed"), true
}

func (f *fidelity) drain() {
	if i, ok := f.feed(); ok {
		f.drainNumber(i, rapid.IntRange(1, 20).Draw(f.rt, "messages"))
	}
}

// drainNumber takes up to so many messages of each of a feed's tails: as many as the simulated one has.
func (f *fidelity) drainNumber(i, most int) {
	for _, subject := range slices.Sorted(maps.Keys(f.open[i])) {
		count := -1
		f.both(fmt.Sprintf("read feed %d, %s", i, subject), func(s *side) string {
			tail := s.feeds[i].Tail(subject)
			if count < 0 {
				text, there := takeThere(tail, most)
				count = there
				return text
			}
			return takeCount(f.ctx, tail, count, most)
		})
	}
}

// takeThere takes what is there, up to a number, and returns it as text and how much it was.
func takeThere(tail log.Tail, most int) (text string, count int) {
	for ; count < most; count++ {
		m, ok := tail.Peek()
		if !ok {
			break
		}
		tail.Pop()
		text += message(m, nil) + "; "
	}
	return text + tailEnd(tail), count
}

// takeCount waits for so many messages, takes them, and what there should not be.
func takeCount(ctx context.Context, tail log.Tail, count, most int) (text string) {
	ctx, cancel := context.WithTimeout(ctx, tailPatient)
	defer cancel()
	for range count {
		m, err := Take(ctx, tail)
		if err != nil {
			return text + fmt.Sprintf("waited in vain: %v", err)
		}
		text += message(m, nil) + "; "
	}
	if m, ok := tail.Peek(); ok && count < most {
		text += message(m, nil) + "; "
	}
	return text + tailEnd(tail)
}

func tailEnd(tail log.Tail) string {
	if err := tail.Err(); err != nil {
		return said(err)
	}
	return "works"
}

func (f *fidelity) closeFeed() {
	if i, ok := f.feed(); ok {
		f.closeNumber(i)
	}
}

// closeNumber closes a feed, twice, and looks at it once more. It keeps its place and reads nothing.
func (f *fidelity) closeNumber(i int) {
	for _, subject := range slices.Sorted(maps.Keys(f.open[i])) {
		f.both(fmt.Sprintf("close feed %d, then read %s", i, subject), func(s *side) string {
			s.feeds[i].Close()
			s.feeds[i].Close()
			tail := s.feeds[i].Tail(subject)
			_, ok := tail.Peek()
			tail.Pop()
			return fmt.Sprintf("something to read: %v, %s", ok, tailEnd(tail))
		})
	}
	f.open[i] = map[string]bool{}
}

// finish makes sure that no feed delivers more than it should: what comes after everything is the end.
func (f *fidelity) finish() {
	for i, subjects := range f.open {
		for subject, reads := range subjects {
			if !reads {
				continue
			}
			f.both("publish the end on "+subject, func(s *side) string {
				at, err := s.site.Publish(f.ctx, subject, []byte("end"))
				return fmt.Sprint(at, ", ", said(err))
			})
		}
		f.drainNumber(i, 1<<20)
	}
}
