package run

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Health knows which components have caught up. The process is ready when all expected ones have and it
// is not stopping. It is safe for concurrent use.
type Health struct {
	mu       sync.Mutex
	ready    map[string]bool
	halted   map[string]bool
	stopping bool
	tell     func(ready bool)
}

// NewHealth expects components; tell, which may be nil, is told whenever the process's readiness changes.
func NewHealth(tell func(ready bool), expected ...string) *Health {
	h := &Health{ready: map[string]bool{}, halted: map[string]bool{}, tell: tell}
	for _, name := range expected {
		h.ready[name] = false
	}
	return h
}

// Set notes that a component is ready or not. It is what Deps.Ready is.
func (h *Health) Set(component string, ready bool) {
	h.change(func() { h.ready[component] = ready })
}

// Halt notes that a partition of a component must not go on. The process is as ready as it was: the others go on.
func (h *Health) Halt(component string, partition int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.halted[fmt.Sprintf("%s partition %d", component, partition)] = true
}

// Halted lists the partitions that must not go on, sorted.
func (h *Health) Halted() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.halted))
}

// Stopping ends readiness for good.
func (h *Health) Stopping() {
	h.change(func() { h.stopping = true })
}

func (h *Health) change(f func()) {
	h.mu.Lock()
	before := h.all()
	f()
	after := h.all()
	h.mu.Unlock()
	if before != after && h.tell != nil {
		h.tell(after)
	}
}

func (h *Health) all() bool {
	for _, ready := range h.ready {
		if !ready {
			return false
		}
	}
	return !h.stopping
}

// Waiting lists what is not ready, sorted; none means that the process is ready.
func (h *Health) Waiting() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for name, ready := range h.ready {
		if !ready {
			names = append(names, name)
		}
	}
	if h.stopping {
		names = append(names, "stopping")
	}
	slices.Sort(names)
	return names
}
