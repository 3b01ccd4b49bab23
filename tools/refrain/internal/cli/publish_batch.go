package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"refrain.dev/tools/publish"
)

// publisher sends batches to ingest.
type publisher struct {
	app      *app
	writeKey string
	patience time.Duration
	atOnce   int  // the most events in a batch; 0 means as many as one takes
	array    bool // events have numbers instead of lines
	hold     bool
	settle   time.Duration
	clock    string // what ingest says about it
	result   published
	ids      repeats
	shown    time.Time
}

// batch is what one request carries.
type batch struct {
	items []json.RawMessage
	lines []int
	bytes int
}

func (b *batch) add(item json.RawMessage, line int) {
	b.items, b.lines, b.bytes = append(b.items, item), append(b.lines, line), b.bytes+len(item)
}

// send sends a batch and empties it.
func (p *publisher) send(ctx context.Context, b *batch) error {
	if len(b.items) == 0 {
		return nil
	}
	client := publish.Client{URL: p.app.httpURL, WriteKey: p.writeKey, Timeout: p.app.timeout, Patience: p.patience, Waiting: p.waiting}
	got, err := client.Batch(ctx, b.items)
	switch {
	case errors.Is(err, publish.ErrKey):
		return fmt.Errorf("%w: give it with --write-key or REFRAIN_WRITE_KEY", err)
	case err != nil:
		return fmt.Errorf("%w; --http or REFRAIN_HTTP says where ingest is; nothing is known of numbers %d to %d, publish them again", err, b.lines[0], b.lines[len(b.lines)-1])
	}
	p.note(b, got)
	p.clock = got.Clock
	*b = batch{}
	p.progress(false)
	return nil
}

func (p *publisher) note(b *batch, got publish.Answer) {
	p.result.Accepted += len(b.items) - len(got.Refused)
	for _, r := range got.Refused {
		p.refuse(b.line(r.Index), refused{Field: r.Field, Why: r.Why, DeadLetter: r.DeadLetter})
	}
	for _, r := range got.Remarks {
		p.result.remark(b.line(r.Index), r.Field, r.Why)
	}
}

// line is where the event with an index in the batch came from; 0 if ingest names one that is not there.
func (b *batch) line(index int) int {
	if index < 0 || index >= len(b.lines) {
		return 0
	}
	return b.lines[index]
}

// refuse notes why an event, by its line or its number in an array, was not taken.
func (p *publisher) refuse(number int, r refused) {
	if p.array {
		r.Event = number
	} else {
		r.Line = number
	}
	p.result.Refused = append(p.result.Refused, r)
}

const (
	onTerminal = 500 * time.Millisecond
	elsewhere  = 5 * time.Second
)

// progress says now and then how far it is: over and over in one line on a terminal, else in a line every few seconds.
func (p *publisher) progress(last bool) {
	if last && p.app.Terminal {
		_, _ = fmt.Fprint(p.app.Stderr, "\r\033[K")
		return
	}
	if !last {
		p.show(0, "")
	}
}

// waiting says that nothing is sent for a while, and why.
func (p *publisher) waiting(wait time.Duration, why error) {
	p.show(wait, fmt.Sprintf("; waiting %s, up to %s in all: %v", wait.Round(100*time.Millisecond), p.patience, why))
}

func (p *publisher) show(wait time.Duration, why string) {
	now, every := p.app.Now(), elsewhere
	if p.app.Terminal {
		every = onTerminal
	}
	if now.Sub(p.shown) < every && wait < every {
		return
	}
	p.shown = now
	text := clean(fmt.Sprintf("%s accepted, %d refused so far%s", count(p.result.Accepted, "event"), len(p.result.Refused), why))
	if p.app.Terminal {
		_, _ = fmt.Fprint(p.app.Stderr, "\r\033[K"+text)
		return
	}
	p.app.sayf("%s", text)
}
