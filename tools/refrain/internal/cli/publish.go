package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"refrain.dev/tools/publish"
)

// published is what publish did.
type published struct {
	Events   int       `json:"events"`
	Accepted int       `json:"accepted"`
	Refused  []refused `json:"refused"`
}

type refused struct {
	Line       int    `json:"line"`
	Field      string `json:"field,omitempty"`
	Why        string `json:"why"`
	DeadLetter string `json:"dead_letter,omitempty"`
}

func (a *app) publishCommand() *cobra.Command {
	p := publisher{app: a}
	cmd := &cobra.Command{
		Use:   "publish FILE|-",
		Short: "Publish events, one JSON object a line",
		Long: `publish sends the events of a file, or of the standard input (-), to ingest, in their order.
A line is a call of the Segment API (type track, identify, page, screen, group or alias), or an event with
the names of refrain.event.v1: {"type": "order_placed", "identifiers": [{"kind": "user_id", "value": "ann"}],
"properties": {"total": 42}, "at": "2026-11-21T08:00:00Z"}.

An event without an id gets one from its line and content, so that publishing a file again has no
further effect. A busy or absent ingest is waited for. Lines that are refused are listed; the rest is stored.`,
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
	out := p.result
	t := table{head: []string{"LINE", "FIELD", "WHY", "DEAD LETTER"}}
	t.linef("%s accepted, %d refused, of %s", count(out.Accepted, "event"), len(out.Refused), count(out.Events, "line"))
	for _, r := range out.Refused {
		t.row(fmt.Sprint(r.Line), r.Field, r.Why, r.DeadLetter)
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

// run reads the lines and sends them in batches.
func (p *publisher) run(ctx context.Context, in io.Reader) error {
	p.result.Refused = []refused{}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), 1<<20)
	var b batch
	number := 0
	for lines.Scan() {
		number++
		text := lines.Bytes()
		if len(trimmed(text)) == 0 {
			continue
		}
		p.result.Events++
		item, err := segment(text, number)
		if err != nil {
			p.result.Refused = append(p.result.Refused, refused{Line: number, Why: err.Error()})
			continue
		}
		if len(b.items) == p.items() || b.bytes+len(item) > maxBatchBytes {
			if err := p.send(ctx, &b); err != nil {
				return err
			}
		}
		b.add(item, number)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read line %d: %w", number+1, err)
	}
	if err := p.send(ctx, &b); err != nil {
		return err
	}
	p.progress(true)
	return nil
}
