package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"refrain.dev/tools/retail"
)

func (a *app) importCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "import", Short: "Import data of other systems as events"}
	cmd.AddCommand(a.importRetailCommand())
	return cmd
}

// importer feeds a publisher from data that is no events yet.
type importer struct {
	publisher

	live bool
	rate float64
}

func (a *app) importRetailCommand() *cobra.Command {
	imp := importer{publisher: publisher{app: a}}
	cmd := &cobra.Command{
		Use:   "online-retail FILE",
		Short: "Import the UCI Online Retail data: an event per invoice, in the order of time",
		Long: `online-retail turns the lines of the UCI "Online Retail" data (plain CSV or gzip) into events: one
per invoice, cancelled ones as order_cancelled, in the order of their time in Europe/London, each customer
introduced by an identify and, by a hash of the number, a consent for mail. docs/guides/retail-data.md
says what is taken from the data and what is made up.

With --live the events happen now, in the same order, at --rate events a second.`,
		Example: `  refrain import online-retail online-retail.csv.gz
  refrain import online-retail examples/retail/data/sample.csv --live --rate 200`,
		Args: args(1, 1, "the data's file, or - for the standard input"),
		RunE: func(cmd *cobra.Command, given []string) error {
			in, done, err := a.open(given[0])
			if err != nil {
				return err
			}
			defer done()
			messages, _, err := retail.Read(in)
			if err != nil {
				return usage("%s: %w", given[0], err)
			}
			return imp.report(imp.feed(cmd.Context(), messages))
		},
	}
	f := cmd.Flags()
	f.StringVar(&imp.writeKey, "write-key", a.Getenv("REFRAIN_WRITE_KEY"), "write key, if ingest asks for one (REFRAIN_WRITE_KEY)")
	f.DurationVar(&imp.patience, "patience", time.Minute, "how long to wait for an ingest that is busy or absent")
	imp.replayFlags(cmd)
	f.BoolVar(&imp.live, "live", false, "let the events happen now")
	f.Float64Var(&imp.rate, "rate", 0, "with --live: events a second; 0 is as fast as ingest takes them")
	return cmd
}

// feed publishes the messages line by line, as if they came from a file of events. With --live and a rate no
// event waits for others longer than a tenth of a second.
func (imp *importer) feed(ctx context.Context, messages []retail.Message) error {
	if imp.live && imp.rate > 0 {
		imp.atOnce = max(1, int(imp.rate/10))
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(imp.write(ctx, w, messages)) }()
	err := imp.run(ctx, r)
	return errors.Join(err, r.Close())
}

func (imp *importer) write(ctx context.Context, w io.Writer, messages []retail.Message) error {
	var tick <-chan time.Time
	if imp.live && imp.rate > 0 {
		t := time.NewTicker(time.Duration(float64(time.Second) / imp.rate))
		defer t.Stop()
		tick = t.C
	}
	enc := json.NewEncoder(w)
	for _, m := range messages {
		if tick != nil {
			select {
			case <-tick:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if imp.live {
			m.Timestamp = imp.app.Now().UTC()
		}
		if err := enc.Encode(m); err != nil {
			return fmt.Errorf("encode %s: %w", m.MessageID, err)
		}
	}
	return nil
}
