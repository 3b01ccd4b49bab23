package logtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// Fidelity checks that two implementations answer the same random operations in the same way, errors
// included. open is called for two empty Sites before each sequence of operations; the first is the one that
// needs no waiting, a Memory. -rapid.checks=10000 does more of it.
//
// What is not compared: times, the words of errors, and what an open feed delivers of a subject that is
// purged or deleted under its tail, which depends on how far it had read ahead.
func Fidelity(t *testing.T, open func(*rapid.T) (simulated, genuine log.Site)) {
	t.Helper()
	check := func(rt *rapid.T) {
		a, b := open(rt)
		f := &fidelity{rt: rt, ctx: t.Context(), sides: [2]*side{{site: a}, {site: b}}, deleted: map[string]bool{}}
		defer f.close()
		f.prepare()
		for range evenly(120).Draw(rt, "operations") {
			f.step()
		}
		f.finish()
	}
	for range rounds {
		rapid.Check(t, check)
	}
}

type fidelity struct {
	rt    *rapid.T
	ctx   context.Context //nolint:containedctx // one short test
	sides [2]*side
	// known are sequences that were given out, and some that were not.
	known []uint64
	// open are the feeds, in the same order on both sides.
	open []map[string]bool
	// deleted are the streams that were.
	deleted map[string]bool
}

// side is one of the two and what is open on it.
type side struct {
	site  log.Site
	feeds []log.Feed
}

// The streams: a stream of chains that is soon full, one of lanes with small messages, one that comes and
// goes.
const (
	roomy       = 1 << 20
	narrow      = 1500
	smallest    = 200
	tailPatient = 10 * time.Second
	// rounds of checks, of which rapid makes a hundred each.
	rounds = 3
)

func fidelityStreams() []log.StreamConfig {
	base := log.StreamConfig{Replicas: 1, MaxBytes: roomy, MaxMessage: 2000, DiscardNew: true, DenyDelete: true, File: true}
	chains, lanes, extra, side := base, base, base, base
	chains.Name, chains.Subjects, chains.MaxBytes = "CHAINS", []string{"prf.0", "prf.1"}, narrow
	lanes.Name, lanes.Subjects, lanes.MaxMessage = "LANES", []string{"evt.bulk.*", "evt.live.*"}, smallest
	extra.Name, extra.Subjects = "EXTRA", []string{"box.profile.*"}
	side.Name, side.Subjects, side.MaxBytes, side.DiscardNew = "SIDE", []string{"dcn.*"}, narrow, false
	return []log.StreamConfig{chains, lanes, extra, side}
}

func (f *fidelity) prepare() {
	f.both("prepare", func(s *side) string { return said(s.site.Prepare(f.ctx, 1)) })
	for _, c := range fidelityStreams() {
		f.both("create "+c.Name, func(s *side) string { return said(s.site.CreateStream(f.ctx, c)) })
	}
}

func (f *fidelity) close() {
	for _, s := range f.sides {
		for _, feed := range s.feeds {
			feed.Close()
		}
	}
}

// both does the same on both sides and compares what it said.
func (f *fidelity) both(what string, do func(*side) string) string {
	f.rt.Helper()
	a, b := do(f.sides[0]), do(f.sides[1])
	if a != b {
		f.rt.Fatalf("%s:\n  simulated: %s\n  real:      %s", what, a, b)
	}
	f.rt.Logf("%s: %s", what, a)
	return a
}

// said says all of an error that anybody may act on.
func said(err error) string {
	if err == nil {
		return "ok"
	}
	var says []string
	if conflict, ok := errors.AsType[*log.ConflictError](err); ok {
		says = append(says, fmt.Sprint("conflict, last is ", conflict.Last))
	}
	for _, known := range []error{
		log.ErrNotFound, log.ErrUnknown, log.ErrPending, log.ErrFull, log.ErrBusy, log.ErrZeroExpectation, log.ErrLost,
		log.ErrLogLostData, log.ErrGone, log.ErrClosed, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			says = append(says, known.Error())
		}
	}
	return strings.Join(append(says, "kind "+fault.Of(err).String()), ", ")
}

func message(m log.Message, err error) string {
	if err != nil {
		return said(err)
	}
	return fmt.Sprintf("%s %d %q, has a time: %v", m.Subject, m.Sequence, m.Data, !m.Time.IsZero())
}

func (f *fidelity) step() {
	steps := []func(){
		f.append, f.append, f.append, f.publish, f.publish, f.publish, f.read, f.read, f.purge, f.usage,
		f.openFeed, f.drain, f.drain, f.drain, f.closeFeed, f.keyValue, f.keyValue, f.object, f.stream, f.begin, f.ended,
	}
	steps[evenly(len(steps)).Draw(f.rt, "step")]()
}

// evenly draws below n without rapid's liking for small numbers.
func evenly(n int) *rapid.Generator[int] {
	return rapid.Custom(func(rt *rapid.T) int {
		value := 0
		for range 10 {
			value *= 2
			if rapid.Bool().Draw(rt, "bit") {
				value++
			}
		}
		return value * n >> 10
	})
}

// oneOf draws one of several, each as likely.
func oneOf[T any](rt *rapid.T, what string, all ...T) T {
	return all[evenly(len(all)).Draw(rt, what)]
}

// subject draws one that is stored, mostly.
func (f *fidelity) subject() string {
	return oneOf(f.rt, "subject",
		"prf.0", "prf.0", "prf.0", "prf.1", "prf.1", "evt.live.0", "evt.live.0", "evt.live.0", "evt.live.1", "evt.bulk.0",
		"evt.bulk.0", "box.profile.0", "box.profile.0", "dcn.0", "dcn.0", "dcn.1", "nowhere.0", oneOf(f.rt, "odd", "evt.live.*", "evt.live.>", "", "a b.0"))
}

// sequence draws one that means something, mostly.
func (f *fidelity) sequence(what string) uint64 {
	if len(f.known) > 0 && evenly(4).Draw(f.rt, what+" is known") > 0 {
		known := f.known[max(0, len(f.known)-1-rapid.IntRange(0, 5).Draw(f.rt, what+" back"))]
		return known + uint64(rapid.SampledFrom([]int{0, 0, 0, 0, 1}).Draw(f.rt, what+" ahead")) //nolint:gosec // 0 or 1
	}
	return oneOf[uint64](f.rt, what, 0, 1, 2, 3, 7, 1<<40)
}

// position draws where a subject is, or was.
func (f *fidelity) position(subject, what string) uint64 {
	at, err := f.sides[0].site.Last(f.ctx, subject)
	if err != nil || evenly(8).Draw(f.rt, what+" anywhere") == 0 {
		return f.sequence(what)
	}
	back := uint64(oneOf(f.rt, what+" back", 0, 0, 1, 2, 3, 5)) //nolint:gosec // small
	return at.Sequence - min(back, at.Sequence)
}

// data draws bytes, now and then too many.
func (f *fidelity) data() []byte {
	size := oneOf(f.rt, "size", 0, 1, 5, 7, 20, 50, 100, oneOf(f.rt, "large", smallest, smallest+1, 900, 1937, 1939, 2000, 2001))
	return []byte(strings.Repeat("x", size))
}

func (f *fidelity) know(sequence uint64, err error) {
	if err == nil {
		f.known = append(f.known, sequence)
	}
}

func (f *fidelity) append() {
	subject, data := f.subject(), f.data()
	expect := f.sequence("expect")
	if at, err := f.sides[0].site.Last(f.ctx, subject); err == nil && evenly(4).Draw(f.rt, "right") > 0 {
		expect = at.Sequence
	}
	f.both(fmt.Sprintf("append %d bytes to %q after %d", len(data), subject, expect), func(s *side) string {
		at, err := s.site.Append(f.ctx, subject, expect, data)
		f.know(at, err)
		return fmt.Sprint(at, ", ", said(err))
	})
}

func (f *fidelity) publish() {
	subject, data := f.subject(), f.data()
	f.both(fmt.Sprintf("publish %d bytes on %q", len(data), subject), func(s *side) string {
		at, err := s.site.Publish(f.ctx, subject, data)
		f.know(at, err)
		return fmt.Sprint(at, ", ", said(err))
	})
}

func (f *fidelity) read() {
	subject := f.subject()
	at := f.position(subject, "at")
	switch evenly(3).Draw(f.rt, "read") {
	case 0:
		f.both(fmt.Sprintf("last of %q", subject), func(s *side) string { return message(s.site.Last(f.ctx, subject)) })
	case 1:
		f.both(fmt.Sprintf("get %q %d", subject, at), func(s *side) string { return message(s.site.Get(f.ctx, subject, at)) })
	case 2:
		f.both(fmt.Sprintf("next of %q after %d", subject, at), func(s *side) string { return message(s.site.Next(f.ctx, subject, at)) })
	}
}

// purge closes the feeds that read the subject: what they have read ahead is their own business.
func (f *fidelity) purge() {
	subject := f.subject()
	below := f.position(subject, "below")
	for i, subjects := range f.open {
		if subjects[subject] {
			f.closeNumber(i)
		}
	}
	f.both(fmt.Sprintf("purge %q below %d", subject, below), func(s *side) string { return said(s.site.Purge(f.ctx, subject, below)) })
}

func (f *fidelity) usage() {
	subject := f.subject()
	f.both(fmt.Sprintf("usage of %q", subject), func(s *side) string {
		u, err := s.site.Usage(f.ctx, subject)
		made := !u.Made.IsZero()
		u.Made = time.Time{}
		return fmt.Sprintf("%+v, made at a time: %v, %s", u, made, said(err))
	})
}

func (f *fidelity) begin() {
	subject, data, position := f.subject(), f.data(), uint64(rapid.IntRange(1, 4).Draw(f.rt, "position")) //nolint:gosec // small
	if u, err := f.sides[0].site.Usage(f.ctx, subject); err == nil && rapid.Bool().Draw(f.rt, "right") {
		position = u.LastSequence + 1
	}
	f.both(fmt.Sprintf("begin %q at %d with %d bytes", subject, position, len(data)), func(s *side) string {
		return said(s.site.Begin(f.ctx, subject, position, data))
	})
}

// ended does what a context that has ended must not let pass.
func (f *fidelity) ended() {
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	subject, at := f.subject(), max(f.sequence("at"), 1)
	f.both(fmt.Sprintf("with an ended context, %q %d", subject, at), func(s *side) string {
		_, appended := s.site.Append(ctx, subject, at, nil)
		_, published := s.site.Publish(ctx, subject, nil)
		_, last := s.site.Last(ctx, subject)
		_, got := s.site.Get(ctx, subject, at)
		_, next := s.site.Next(ctx, subject, at)
		_, usage := s.site.Usage(ctx, subject)
		_, fed := s.site.Feed(ctx, map[string]uint64{subject: 0})
		_, _, value := s.site.KV().Get(ctx, "a")
		_, keys := s.site.KV().Keys(ctx, "")
		var says []string
		for _, err := range []error{
			appended, published, last, got, next, usage, fed, value, keys, s.site.Purge(ctx, subject, 1),
			s.site.KV().Put(ctx, "a", nil), s.site.KV().Update(ctx, "a", nil, 0), s.site.Begin(ctx, subject, 1, nil),
		} {
			says = append(says, fmt.Sprint(errors.Is(err, context.Canceled)))
		}
		return strings.Join(says, " ")
	})
}
