package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"refrain.dev/tools/publish"
)

// published is what publish did.
type published struct {
	Events   int       `json:"events"`
	Accepted int       `json:"accepted"`
	Refused  []refused `json:"refused"`
	// Remarks are about accepted events: what was set aside, assumed, or had no effect.
	Remarks []*remarks `json:"remarks"`
	// MoreRemarks is how many there are beyond those listed.
	MoreRemarks int `json:"more_remarks,omitempty"`
	// AppliedUntil is the instant up to which all is applied and settled, on the replay clock.
	AppliedUntil string `json:"applied_until,omitempty"`
}

type refused struct {
	// Line of the file; or Event, the number in a JSON array.
	Line       int    `json:"line,omitempty"`
	Event      int    `json:"event,omitempty"`
	Field      string `json:"field,omitempty"`
	Why        string `json:"why"`
	DeadLetter string `json:"dead_letter,omitempty"`
}

func (a *app) publishCommand() *cobra.Command {
	p := publisher{app: a}
	cmd := &cobra.Command{
		Use:   "publish FILE|-",
		Short: "Publish events, one JSON object a line, or a JSON array",
		Long: `publish sends the events of a file, or of the standard input (-), to ingest, in their order.
The file has one JSON object a line, or is one JSON array of them. Byte order marks, which files that were put together
have in their middle, are skipped. An object is a call of the Segment API (type track, identify, page, screen, group or alias), or an event with
the names of refrain.event.v1: {"type": "order_placed", "identifiers": [{"kind": "user_id", "value": "ann"}],
"properties": {"total": 42}, "at": "2026-11-21T08:00:00Z"}.

An event without an id gets one from its line (in an array its number) and content, so that publishing a file again has
no further effect. A busy or absent ingest is waited for, and the standard error says so and how far it is. Events that
are refused are listed in their order; the rest is stored. So are remarks on what was stored: a field that was set aside
or had no effect, an event that repeats the id of another.

A mesh on the replay clock holds events of the newest instant back, since more of them may come. At the end of the file
none does: publish advances the clock to the newest event and waits until all is settled. With --hold it does not, for a
file that goes on with the same instant.`,
		Example: `  refrain publish events.ndjson
  echo '{"type":"track","userId":"ann","event":"order_placed","properties":{"total":42}}' | refrain publish -`,
		Args: args(1, 1, "one file, or - for the standard input"),
		RunE: func(cmd *cobra.Command, given []string) error {
			in, done, err := a.open(given[0])
			if err != nil {
				return err
			}
			defer done()
			err = p.run(cmd.Context(), in)
			return errors.Join(p.report(err))
		},
	}
	cmd.Flags().StringVar(&p.writeKey, "write-key", a.Getenv("REFRAIN_WRITE_KEY"), "write key, if ingest asks for one (REFRAIN_WRITE_KEY)")
	cmd.Flags().DurationVar(&p.patience, "patience", time.Minute, "how long to wait for an ingest that is busy or absent")
	p.replayFlags(cmd)
	return cmd
}

func (a *app) open(name string) (io.Reader, func(), error) {
	if name == "-" {
		return a.Stdin, func() {}, nil
	}
	f, err := os.Open(name) //nolint:gosec // the file that the caller names
	if err != nil {
		return nil, nil, usage("the events cannot be read: %w", err)
	}
	return f, func() { _ = f.Close() }, nil
}

// report prints what was done, whatever ended it.
func (p *publisher) report(err error) error {
	out, noun := &p.result, "line"
	if p.array {
		noun = "event"
	}
	slices.SortStableFunc(out.Refused, func(x, y refused) int { return cmp.Compare(x.Line+x.Event, y.Line+y.Event) })
	slices.SortStableFunc(out.Remarks, func(x, y *remarks) int { return cmp.Compare(x.First[0], y.First[0]) })
	t := table{head: []string{strings.ToUpper(noun), "FIELD", "WHY", "DEAD LETTER"}}
	t.linef("%s accepted, %d refused, of %s", count(out.Accepted, "event"), len(out.Refused), count(out.Events, noun))
	if out.AppliedUntil != "" {
		t.linef("all is settled up to %s", out.AppliedUntil)
	}
	for _, r := range out.Remarks {
		t.linef("remark on %s: %s", r.where(noun), clean(r.text()))
	}
	if out.MoreRemarks > 0 {
		t.linef("and %s more", count(out.MoreRemarks, "remark"))
	}
	for _, r := range out.Refused {
		t.row(fmt.Sprint(r.Line+r.Event), r.Field, r.Why, r.DeadLetter)
	}
	if printed := p.app.print(out, t); printed != nil || err != nil {
		return errors.Join(err, printed)
	}
	if len(out.Refused) > 0 {
		return negative("")
	}
	return nil
}

// The bounds of one request; they are those of the Segment API.
const (
	maxLine       = 32 << 10
	maxBatchBytes = publish.MaxBytes
	maxBatchItems = publish.MaxItems
)

// items is how many events a batch takes.
func (p *publisher) items() int {
	if p.atOnce > 0 {
		return min(p.atOnce, maxBatchItems)
	}
	return maxBatchItems
}

// run reads the events and sends them in batches.
func (p *publisher) run(ctx context.Context, in io.Reader) error {
	p.result.Refused, p.result.Remarks = []refused{}, []*remarks{}
	if !p.app.Terminal {
		p.shown = p.app.Now() // what is done soon needs no line
	}
	text, err := begin(in)
	if err != nil {
		return err
	}
	var b batch
	take := func(number int, item []byte) error { return p.take(ctx, &b, number, item) }
	if p.array = isArray(text); p.array {
		err = eachElement(text, take)
	} else {
		err = eachLine(text, take)
	}
	if sent := p.send(ctx, &b); err == nil {
		err = sent
	}
	p.progress(true)
	if err == nil {
		err = p.settleAll(ctx)
	}
	return err
}

func (p *publisher) replayFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.hold, "hold", false, "on the replay clock: do not advance it to the newest event, since the next file goes on with that instant")
	settleFlag(cmd, &p.settle)
}

// settleAll lets the newest events be applied, where nothing but the end of the file says that no more of them come.
func (p *publisher) settleAll(ctx context.Context) error {
	if p.clock != "replay" || p.hold {
		return nil
	}
	res, err := p.app.advance(ctx, "PT0S", p.settle)
	if err != nil {
		return fmt.Errorf("the events are stored, but not all that follows from them is known to have happened: %w", err)
	}
	p.result.AppliedUntil = when(res.GetUntil())
	return nil
}

// take puts an event into the batch, and sends the batch before if it is full.
func (p *publisher) take(ctx context.Context, b *batch, number int, text []byte) error {
	p.result.Events++
	item, wrong := segment(text, number)
	if wrong != nil {
		p.refuse(number, refused{Why: wrong.Error()})
		return nil //nolint:nilerr // it is in the report
	}
	for _, x := range item.aside {
		p.result.remark(number, x.Field, x.Why)
	}
	if first := p.ids.seen(item.key, number); first > 0 {
		p.result.remark(number, "messageId", fmt.Sprintf("is that of number %d, too: one of the two has no effect", first))
	}
	if len(b.items) == p.items() || b.bytes+len(item.call) > maxBatchBytes {
		if err := p.send(ctx, b); err != nil {
			return err
		}
	}
	b.add(item.call, number)
	return nil
}
