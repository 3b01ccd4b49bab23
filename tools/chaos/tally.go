//go:build unix

package main

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// tally counts what happened, and how long what took. It is safe for concurrent use.
type tally struct {
	mu    sync.Mutex
	count map[string]int
	times map[string][]time.Duration
}

func newTally() *tally {
	return &tally{count: map[string]int{}, times: map[string][]time.Duration{}}
}

func (t *tally) add(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count[what] += n
}

func (t *tally) took(what string, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.times[what] = append(t.times[what], d)
}

// of is the sum of all counts whose name begins so.
func (t *tally) of(prefix string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := 0
	for name, n := range t.count {
		if strings.HasPrefix(name, prefix) {
			sum += n
		}
	}
	return sum
}

// lines lists counts, then times with their median, the slowest in a hundred, and the slowest.
func (t *tally) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(t.count)) {
		out = append(out, fmt.Sprintf("%-44s %7d", name, t.count[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(t.times)) {
		all := slices.Clone(t.times[name])
		slices.Sort(all)
		at := func(q float64) time.Duration {
			return all[min(len(all)-1, int(q*float64(len(all))))].Round(time.Millisecond)
		}
		out = append(out, fmt.Sprintf("%-44s %7d  p50 %s  p99 %s  max %s", name, len(all), at(0.5), at(0.99), at(1)))
	}
	return out
}

// every is a random time to the next of what happens so often per minute; rare things never come.
func every(random *rand.Rand, perMinute float64) time.Duration {
	if perMinute <= 0 {
		return math.MaxInt64
	}
	mean := float64(time.Minute) / perMinute
	return time.Duration(min(3, random.ExpFloat64()) * mean)
}

// between is a random duration in [from, to).
func between(random *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(random.Int64N(int64(to-from)))
}
