package log

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"refrain.dev/pkg/clock"
)

// feedLimits bounds what a feed holds and how long one tail may make the others wait.
type feedLimits struct {
	// messages and bytes in one tail; an empty tail takes a message of any size.
	messages, bytes int
	// pullMessages and pullBytes on their way from the server.
	pullMessages, pullBytes int
	// whileHungry is how long the feed waits for room in a full tail while another one is empty, and
	// whileBusy while none is. Then the full tail falls behind and catches up by itself.
	whileHungry, whileBusy time.Duration
	// filters is up to how many subjects the server filters; more are cheaper to read unfiltered.
	filters int
}

func defaultFeedLimits() feedLimits {
	return feedLimits{
		// The library's channel holds pullMessages, and status messages take places in it too: with so many
		// places pullBytes is what binds, and the channel does not overflow while a full tail is waited for.
		messages: 128, bytes: 1 << 20, pullMessages: 8192, pullBytes: 2 * MaxMessage,
		whileHungry: 10 * time.Millisecond, whileBusy: time.Second, filters: 4,
	}
}

const (
	pullExpiry = 10 * time.Second
	heartbeat  = 2 * time.Second
	// forgetAfter is when the server drops the consumer of a process that has gone.
	forgetAfter = 30 * time.Second
	closeWithin = time.Second
	// doubtFor is how long a stream with replicas must go on saying that messages are missing until that is
	// believed: a server that has just become its leader may not have stored yet all that was acknowledged.
	doubtFor = 10 * time.Second
)

// jsFeed reads one stream with one ordered consumer and deals its messages out to tails. Everything is
// done by one goroutine, so a reset of the consumer cannot reorder messages.
type jsFeed struct {
	j      *JetStream
	stream string
	made   time.Time // when the stream was made
	tails  map[string]*jsTail
	filter []string
	copies int    // of the stream
	next   uint64 // stream sequence to go on from
	room   chan struct{}
	ctx    context.Context //nolint:containedctx // the feed's life, ended by Close
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// Feed implements Broker.
func (j *JetStream) Feed(ctx context.Context, from map[string]uint64) (Feed, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &jsFeed{j: j, tails: make(map[string]*jsTail, len(from)), room: make(chan struct{}, 1), ctx: life, cancel: cancel}
	if err := f.open(ctx, from); err != nil {
		cancel()
		return nil, fmt.Errorf("open feed: %w", err)
	}
	if len(from) > 0 {
		f.done.Go(f.run)
	}
	return f, nil
}

// open finds out from where each tail has to be read: a tail for which nothing waits does not make the
// others read old messages again.
func (f *jsFeed) open(ctx context.Context, from map[string]uint64) error {
	subjects := sortedKeys(from)
	for i, subject := range subjects {
		info, err := f.j.streamName(ctx, subject)
		switch {
		case err != nil:
			return err
		case i > 0 && info != f.stream:
			return errTwoStreams(f.stream, info)
		}
		f.stream = info
	}
	if len(subjects) > 0 {
		info, err := f.j.info(ctx, subjects[0])
		if err != nil {
			return err
		}
		f.copies, f.made, f.next = info.Config.Replicas, info.Created, math.MaxUint64
	}
	for _, subject := range subjects {
		first, err := f.addTail(ctx, subject, from[subject])
		if err != nil {
			return err
		}
		f.next = min(f.next, first)
	}
	if len(subjects) <= f.j.limits.filters {
		f.filter = subjects
	}
	return nil
}

// addTail returns the first sequence that the tail needs.
func (f *jsFeed) addTail(ctx context.Context, subject string, position uint64) (uint64, error) {
	t := &jsTail{feed: f, subject: subject, position: position, wake: make(chan struct{}, 1)}
	f.tails[subject] = t
	var last uint64
	t.err = f.settled(ctx, func() error {
		usage, err := f.j.Usage(ctx, subject)
		if err != nil {
			return err
		}
		last = usage.LastSequence
		return f.readable(ctx, subject, position, last)
	})
	switch {
	case missing(t.err):
		return last + 1, nil
	case t.err != nil:
		return 0, t.err
	}
	m, err := f.j.Next(ctx, subject, position)
	if errors.Is(err, ErrNotFound) {
		return last + 1, nil
	}
	return m.Sequence, err
}

// settled asks again while a stream with replicas says that messages are missing and that may be in doubt.
func (f *jsFeed) settled(ctx context.Context, ask func() error) error {
	var wall clock.Wall
	pause, began := firstPause, wall.Elapsed()
	for {
		err := ask()
		if !missing(err) || f.copies <= 1 || wall.Elapsed()-began >= doubtFor {
			return err
		}
		if err := clock.Sleep(ctx, wall, pause); err != nil {
			return err //nolint:wrapcheck // the caller's end
		}
		pause = min(2*pause, lastPause)
	}
}

// missing says whether an error says that messages are missing.
func missing(err error) bool { return errors.Is(err, ErrGone) || errors.Is(err, ErrLogLostData) }

func (f *jsFeed) readable(ctx context.Context, subject string, position, last uint64) error {
	return readable(subject, position, last, func(sequence uint64) (string, error) {
		m, err := f.j.Get(ctx, subject, sequence)
		if errors.Is(err, ErrNotFound) {
			return "", nil
		}
		return m.Subject, err
	})
}

// run reads until the feed is closed; whatever goes wrong with the consumer, a new one goes on where the
// last one ended.
func (f *jsFeed) run() {
	pause := firstPause
	for f.ctx.Err() == nil {
		before := f.next
		err := f.consume()
		if _, anew := errors.AsType[*AnewError](err); anew {
			f.fail(err)
			return
		}
		if f.j.nc.IsClosed() {
			f.fail(fmt.Errorf("%w: %w", ErrClosed, err))
			return
		}
		if f.next > before {
			pause = firstPause
		}
		_ = clock.Sleep(f.ctx, clock.Wall{}, pause)
		pause = min(2*pause, lastPause)
	}
}

// consume makes a consumer and reads from it until something goes wrong.
func (f *jsFeed) consume() error {
	tctx, cancel := context.WithTimeout(f.ctx, f.j.timeout)
	defer cancel()
	c, err := f.j.js.CreateConsumer(tctx, f.stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: f.next, AckPolicy: jetstream.AckNonePolicy,
		FilterSubjects: f.filter, MemoryStorage: true, Replicas: 1, InactiveThreshold: forgetAfter,
	})
	if err != nil {
		return fmt.Errorf("make consumer: %w", err)
	}
	defer f.drop(c.CachedInfo().Name)
	if err := f.same(tctx); err != nil {
		return err
	}
	it, err := c.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(f.j.limits.pullMessages, f.j.limits.pullBytes),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(heartbeat),
		jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	defer it.Stop()
	ctx, end := f.untilReconnect()
	defer end()
	for expected := uint64(1); ; expected++ {
		msg, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if meta.Sequence.Consumer != expected {
			return fmt.Errorf("read: got message %d of the consumer, want %d", meta.Sequence.Consumer, expected)
		}
		f.deal(Message{Subject: msg.Subject(), Sequence: meta.Sequence.Stream, Data: msg.Data(), Time: meta.Timestamp})
		f.next = meta.Sequence.Stream + 1
	}
}

// same makes sure that the stream is the one that the feed was opened on. A consumer ends with its stream, so that is
// asked when there is a new one.
func (f *jsFeed) same(ctx context.Context) error {
	s, err := f.j.js.Stream(ctx, f.stream)
	if err != nil {
		return fmt.Errorf("look at the stream: %w", err)
	}
	if is := s.CachedInfo().Created; !is.Equal(f.made) {
		return &AnewError{Stream: f.stream, Was: f.made, Is: is}
	}
	return nil
}

// untilReconnect ends when the connection comes back from an interruption: the consumer may have gone with
// the server, and a new one is cheaper than waiting for its heartbeat.
func (f *jsFeed) untilReconnect() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(f.ctx)
	back := f.j.nc.StatusChanged(nats.CONNECTED)
	f.done.Go(func() {
		defer f.j.nc.RemoveStatusListener(back)
		select {
		case <-back:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, cancel
}

// drop removes a consumer; if that fails the server does it after forgetAfter.
func (f *jsFeed) drop(consumer string) {
	if !f.j.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.ctx), closeWithin)
	defer cancel()
	_ = f.j.js.DeleteConsumer(ctx, f.stream, consumer)
}

// deal gives a message to its tail. A full tail may hold up the feed, longer if nobody is waiting for
// what follows; then it is left behind.
func (f *jsFeed) deal(m Message) {
	t, ok := f.tails[m.Subject]
	if !ok || t.offer(m, false) {
		return
	}
	limit := f.j.limits.whileBusy
	if f.hungry() {
		limit = f.j.limits.whileHungry
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case <-f.room:
			if t.offer(m, false) {
				return
			}
		case <-timer.C:
			t.offer(m, true)
			return
		case <-f.ctx.Done():
			return
		}
	}
}

func (f *jsFeed) hungry() bool {
	for _, t := range f.tails {
		if t.hungry() {
			return true
		}
	}
	return false
}

func (f *jsFeed) fail(err error) {
	for _, t := range f.tails {
		t.fail(err)
	}
}

// Tail implements Feed.
func (f *jsFeed) Tail(subject string) Tail {
	if t, ok := f.tails[subject]; ok {
		return t
	}
	return deadTail{err: errNotInFeed(subject)}
}

// Close implements Feed.
func (f *jsFeed) Close() {
	for _, t := range f.tails {
		t.close()
	}
	f.cancel()
	f.done.Wait()
}
