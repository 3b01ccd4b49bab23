package stage

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
)

// halts runs a stage until it has halted a partition, and returns why.
func (m *mesh) halts(s *Stage, meanwhile func()) string {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	ran := make(chan error, 1)
	go func() { ran <- NewFreeRunner().Run(ctx, s) }()
	if meanwhile != nil {
		meanwhile()
	}
	var why map[string]string
	eventually(m.t, "the partition is halted, and says why", func() bool {
		var err error
		why, err = Halts(ctx, m.broker.KV())
		return s.halts() == 1 && err == nil && len(why) == 1
	})
	cancel()
	if err := <-ran; err != nil {
		m.t.Error(err)
	}
	for _, text := range why {
		return text
	}
	return ""
}

// A stream that is made anew halts its readers, who would skip what is in it in silence: at once, and also after they
// were started again; each stream that a stage reads.
func TestAStreamThatIsMadeAnewHaltsItsReaders(t *testing.T) {
	for _, stream := range []string{"EVENTS-g1-0", "BOXES-g1-0", "REDRIVE-g1-0"} {
		ok := t.Run(stream, func(t *testing.T) {
			m := newMesh(t, 1, 8)
			if len(m.gen.Made) == 0 {
				t.Fatal("the streams have no identity")
			}
			stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
			for range 5 {
				m.publish(m.broker, nil, m.add("ann", 1))
			}
			eventually(t, "all is added", func() bool { return m.row("profile", "ann").Sum == 5 })
			stop()
			anew := func() {
				m.broker.Recreate(stream)
				for range 9 { // more than there were, so that no position is beyond the end
					m.publish(m.broker, nil, m.add("ann", 1))
				}
			}
			why := m.halts(m.stage("profile", m.broker, clock.Wall{}), func() {
				m.publish(m.broker, nil, m.add("ann", 1))
				eventually(t, "it goes on", func() bool { return m.row("profile", "ann").Sum == 6 })
				anew()
			})
			if !strings.Contains(why, "stream "+stream+" was made anew") || !strings.Contains(why, "provision --accept "+stream) {
				t.Errorf("it halts because of %q", why)
			}
			was := m.row("profile", "ann").Sum
			if again := m.halts(m.stage("profile", m.broker, clock.Wall{}), nil); !strings.Contains(again, stream) {
				t.Errorf("started again it halts because of %q", again)
			}
			if is := m.row("profile", "ann").Sum; is != was {
				t.Errorf("something was decided after the loss: %d, before %d", is, was)
			}
		})
		if !ok {
			return // what is waited for in vain once is waited for in vain again
		}
	}
}

// A stream that ends before the position up to which a partition has covered it has lost data, whoever made it.
func TestAnInputThatEndsTooEarlyHaltsItsReader(t *testing.T) {
	m := newMesh(t, 1, 8)
	stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
	for range 5 {
		n := m.row("profile", "ann").Sum
		m.publish(m.broker, nil, m.add("ann", 1))
		eventually(t, "it is added", func() bool { return m.row("profile", "ann").Sum > n })
	}
	stop()
	m.broker.Lose("EVENTS-g1-0", 3)
	if why := m.halts(m.stage("profile", m.broker, clock.Wall{}), nil); !strings.Contains(why, "the log lost data") {
		t.Errorf("it halts because of %q", why)
	}
}

// brieflyLost is a broker whose feeds fail a few times, as while it elects a leader.
type brieflyLost struct {
	log.Broker

	times int
}

type lostFeed struct{ log.Feed }

type lostTail struct{ log.Tail }

func (lostTail) Peek() (log.Message, bool) { return log.Message{}, false }
func (lostTail) Err() error                { return log.ErrGone }

func (f lostFeed) Tail(subject string) log.Tail { return lostTail{f.Feed.Tail(subject)} }

func (b *brieflyLost) Feed(ctx context.Context, from map[string]uint64) (log.Feed, error) {
	f, err := b.Broker.Feed(ctx, from)
	if _, lane := from["evt.live.0"]; err != nil || !lane || b.times == 0 {
		return f, err
	}
	b.times--
	return lostFeed{f}, nil
}

// A position that seems to be gone for a moment is looked for again.
func TestAnInputThatSeemsLostForAMomentIsOpenedAgain(t *testing.T) {
	m := newMesh(t, 1, 8)
	s := m.stage("profile", &brieflyLost{Broker: m.broker, times: 2}, clock.Wall{})
	m.publish(m.broker, nil, arrival{at: time.Now(), e: entry{Customer: "ann", Add: 1}})
	stop := m.run(s)
	eventually(t, "it goes on", func() bool { return m.row("profile", "ann").Sum == 1 })
	stop()
	if s.halts() != 0 {
		t.Error("it was halted")
	}
}

// Errors of a feed that pass are no loss.
func TestAFeedThatIsClosedIsNoLoss(t *testing.T) {
	r := &reader{subject: "evt.live.0"}
	if _, lost := errors.AsType[*lostInputError](r.lost(log.ErrClosed)); lost {
		t.Error("a feed that is closed counts as lost")
	}
}
