package simulate

import "container/heap"

// timer is something that happens at a virtual time.
type timer struct {
	at     int64
	number uint64
	index  int // in the heap; -1: not there
	fire   func()
}

// timers are what is to happen, those of one time in the order in which they were added.
type timers struct {
	heap   timerHeap
	number uint64
}

func (t *timers) add(at int64, fire func()) *timer {
	t.number++
	e := &timer{at: at, number: t.number, fire: fire}
	heap.Push(&t.heap, e)
	return e
}

func (t *timers) cancel(e *timer) {
	if e.index >= 0 {
		heap.Remove(&t.heap, e.index)
	}
}

// next is when the next timer fires, or never.
func (t *timers) next() int64 {
	if len(t.heap) == 0 {
		return never
	}
	return t.heap[0].at
}

// fire fires all timers up to now.
func (t *timers) fire(now int64) {
	for len(t.heap) > 0 && t.heap[0].at <= now {
		e, _ := heap.Pop(&t.heap).(*timer) //nolint:errcheck // it holds nothing else
		e.fire()
	}
}

type timerHeap []*timer //nolint:recvcheck // as container/heap wants it

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || (h[i].at == h[j].at && h[i].number < h[j].number)
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	e, _ := x.(*timer) //nolint:errcheck // nothing else is pushed
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.index = -1
	return e
}
