package log

import "time"

// What a broker must never do, for those who test that it is noticed.

// StreamOf names the stream that stores a subject; "" if none does.
func (m *Memory) StreamOf(subject string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.stream(subject)
	if err != nil {
		return ""
	}
	return s.cfg.Name
}

// Lose takes the last n messages of a stream away, as if they had never been acknowledged: the next message
// gets the sequence of the first that is lost. It returns how many there were to lose.
func (m *Memory) Lose(stream string, n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.streams[stream]
	if s == nil {
		return 0
	}
	n = min(max(n, 0), len(s.messages))
	for range n {
		last := s.messages[len(s.messages)-1]
		s.messages = s.messages[:len(s.messages)-1]
		of := s.subjects[last.Subject]
		s.subjects[last.Subject] = of[:len(of)-1]
		s.bytes -= s.size(last)
		delete(s.headers, last.Sequence)
		s.last = last.Sequence - 1
	}
	s.signalAll()
	return n
}

// Recreate makes a stream anew: it is empty, and its sequences begin at 1 again. It returns how many messages are lost.
func (m *Memory) Recreate(stream string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.streams[stream]
	if s == nil {
		return 0
	}
	n := len(s.messages)
	s.messages, s.bytes, s.last, s.cfg.Made = nil, 0, 0, m.made()
	clear(s.subjects)
	clear(s.headers)
	clear(s.purged)
	s.signalAll()
	return n
}

// signalAll lets every reader look.
func (s *memStream) signalAll() {
	for _, tails := range s.tails {
		for _, t := range tails {
			signal(t.wake)
		}
	}
}

// made is a time at which a stream is made: no two are made at the same.
func (m *Memory) made() time.Time {
	at := m.now().UTC()
	if !at.After(m.lastMade) {
		at = m.lastMade.Add(1)
	}
	m.lastMade = at
	return at
}
