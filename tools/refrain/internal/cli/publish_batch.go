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
	atOnce   int // the most events in a batch; 0 means as many as one takes
	result   published
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
	client := publish.Client{URL: p.app.httpURL, WriteKey: p.writeKey, Timeout: p.app.timeout, Patience: p.patience}
	got, err := client.Batch(ctx, b.items)
	switch {
	case errors.Is(err, publish.ErrKey):
		return fmt.Errorf("%w: give it with --write-key or REFRAIN_WRITE_KEY", err)
	case err != nil:
		return fmt.Errorf("publish lines %d to %d: %w (--http or REFRAIN_HTTP says where ingest is)", b.lines[0], b.lines[len(b.lines)-1], err)
	}
	p.note(b, got)
	*b = batch{}
	p.progress(false)
	return nil
}

func (p *publisher) note(b *batch, got []publish.Refused) {
	p.result.Accepted += len(b.items) - len(got)
	for _, r := range got {
		line := 0
		if r.Index >= 0 && r.Index < len(b.lines) {
			line = b.lines[r.Index]
		}
		p.result.Refused = append(p.result.Refused, refused{line, r.Field, r.Why, r.DeadLetter})
	}
}

// progress says now and then how far it is, if somebody watches.
func (p *publisher) progress(last bool) {
	now := p.app.Now()
	if !p.app.Terminal || (!last && now.Sub(p.shown) < 500*time.Millisecond) {
		return
	}
	end := "\r"
	if last {
		end = "\r\033[K"
	}
	p.shown = now
	_, _ = fmt.Fprintf(p.app.Stderr, "%d events accepted, %d refused%s", p.result.Accepted, len(p.result.Refused), end)
}
