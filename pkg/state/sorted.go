package state

import "slices"

// chunkMax bounds a chunk of a sorted set: an insertion moves at most that many elements.
const chunkMax = 512

// sorted is an ordered set kept as a list of sorted chunks: simple, compact, and quick for the some ten
// thousand elements that a shard in memory has. No chunk is empty.
type sorted[T any] struct {
	compare func(a, b T) int
	chunks  [][]T
}

// chunk returns the index of the only chunk that may hold v: the first whose last element is not less.
func (s *sorted[T]) chunk(v T) int {
	i, _ := slices.BinarySearchFunc(s.chunks, v, func(c []T, v T) int { return s.compare(c[len(c)-1], v) })
	return i
}

// insert adds v; it does nothing if v is there.
func (s *sorted[T]) insert(v T) {
	if len(s.chunks) == 0 {
		s.chunks = append(s.chunks, []T{v})
		return
	}
	c := min(s.chunk(v), len(s.chunks)-1)
	at, found := slices.BinarySearchFunc(s.chunks[c], v, s.compare)
	if found {
		return
	}
	s.chunks[c] = slices.Insert(s.chunks[c], at, v)
	if full := s.chunks[c]; len(full) > chunkMax {
		upper := slices.Clone(full[chunkMax/2:])
		clear(full[chunkMax/2:])
		s.chunks[c] = full[:chunkMax/2]
		s.chunks = slices.Insert(s.chunks, c+1, upper)
	}
}

// remove takes v out; it does nothing if v is not there.
func (s *sorted[T]) remove(v T) {
	c := s.chunk(v)
	if c == len(s.chunks) {
		return
	}
	at, found := slices.BinarySearchFunc(s.chunks[c], v, s.compare)
	if !found {
		return
	}
	s.chunks[c] = slices.Delete(s.chunks[c], at, at+1)
	if len(s.chunks[c]) == 0 {
		s.chunks = slices.Delete(s.chunks, c, c+1)
	}
}

// from calls yield for v, if it is there, and every element greater than it, in order, until yield
// returns false.
func (s *sorted[T]) from(v T, yield func(T) bool) {
	c := s.chunk(v)
	if c == len(s.chunks) {
		return
	}
	at, _ := slices.BinarySearchFunc(s.chunks[c], v, s.compare)
	for ; c < len(s.chunks); c, at = c+1, 0 {
		for _, e := range s.chunks[c][at:] {
			if !yield(e) {
				return
			}
		}
	}
}

func (s *sorted[T]) clone() sorted[T] {
	c := sorted[T]{compare: s.compare, chunks: make([][]T, len(s.chunks))}
	for i, chunk := range s.chunks {
		c.chunks[i] = slices.Clone(chunk)
	}
	return c
}
