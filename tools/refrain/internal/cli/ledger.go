package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
	"refrain.dev/tools/ledger"
)

func (a *app) ledgerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Hold the mesh against what it promises",
		Long: `The ledger is all that a mesh wrote down: its log and its states. It can be held against what clients
know to be acknowledged and what providers received.`,
		Example: `  refrain ledger verify --settled`,
		RunE:    func(*cobra.Command, []string) error { return usage("want verify") },
	}
	cmd.AddCommand(a.ledgerVerify())
	return cmd
}

// verification is one run of ledger verify.
type verification struct {
	accepted, received, channels []string
	windows                      []string
	definitions                  []string
	redis                        string
	allSent, settled, trimmed    bool
	bound, skew                  time.Duration
	limit                        int
}

func (a *app) ledgerVerify() *cobra.Command {
	v := &verification{}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that nothing was lost, done twice, or sent that may not be",
		Long: `verify reads the whole log, and what else it is given, and checks every promise anew, with code of its
own: events, states, proposals, sends, caps, quiet hours, permission. It changes nothing and may run while
the mesh works. What it is not given it cannot check, and it says so.

The files are JSON lines: one per event that a client sent, one per request that a provider received.
The lines that channels with the file adapter write are understood as they are.`,
		Example: `  refrain ledger verify --settled
  refrain ledger verify --accepted acks.jsonl --received provider.jsonl --definitions workspace --redis 127.0.0.1:6379 --settled
  refrain ledger verify --received data/email.jsonl --channels email -o json`,
		Args: args(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSite(cmd.Context(), func(site log.Site, gen log.Generation) error {
				h, err := v.load(cmd.Context(), site, gen, a.Now())
				if err != nil {
					return err
				}
				return a.verified(ledger.Verify(h), v.limit)
			})
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&v.accepted, "accepted", nil, "files of clients: the events that they sent, and when they were acknowledged")
	f.BoolVar(&v.allSent, "all-sent", false, "these files name every event that anybody sent, acknowledged or not")
	f.StringSliceVar(&v.received, "received", nil, "files of providers: the requests that they received")
	f.StringSliceVar(&v.channels, "channels", nil, "the channels of which these files have every request; without it all")
	f.StringSliceVar(&v.windows, "window", nil, "channels whose provider keeps idempotency keys, and how long: push=1h")
	f.StringArrayVar(&v.definitions, "definitions", nil, "directory of the definitions that were in force; one of each tenant")
	f.StringVar(&v.redis, "redis", "", "Redis with the states: host:port, host:port,… for a cluster, or a unix socket")
	f.BoolVar(&v.settled, "settled", false, "the mesh has done all that it had to do: whatever is left open is wrong")
	f.BoolVar(&v.trimmed, "trimmed", false, "the log was trimmed: what needs its beginning is not checked")
	f.DurationVar(&v.bound, "bound", ledger.DefaultBound, "how long after an acknowledged opt-out a send may still start")
	f.DurationVar(&v.skew, "skew", 2*time.Second, "by how much the clocks of clients, services and providers may differ")
	f.IntVar(&v.limit, "limit", 50, "how many violations are listed at most; all are counted")
	return cmd
}

// load reads everything that the check is given: the files first, since a mesh that works goes on meanwhile,
// and what it does after that is not looked for in them.
func (v *verification) load(ctx context.Context, site log.Site, gen log.Generation, now time.Time) (*ledger.History, error) {
	windows, err := v.keep()
	if err != nil {
		return nil, err
	}
	files, err := v.files()
	if err != nil {
		return nil, err
	}
	var store ledger.Store
	if v.redis != "" {
		client := redis.NewUniversalClient(state.RedisOptions(v.redis))
		defer client.Close() //nolint:errcheck // read only
		if err := client.Ping(ctx).Err(); err != nil {
			return nil, fmt.Errorf("--redis %s: %w", v.redis, err)
		}
		store = state.NewRedis(client, gen.Number)
	}
	h, err := ledger.Load(ctx, site, store, gen)
	if err != nil {
		return nil, err
	}
	if h.Sets, err = ledger.ReadSets(ctx, h, site.KV(), site.Objects()); err != nil {
		return nil, err //nolint:wrapcheck // says what it read
	}
	h.Sent, h.Received, h.Windows, h.Read = files.Sent, files.Received, windows, now
	h.Definitions, h.Tenants = files.Definitions, files.Tenants
	h.Settled, h.Trimmed, h.AllSent, h.Channels = v.settled, v.trimmed, v.allSent, v.channels
	h.Bound, h.Skew = v.bound, v.skew
	return h, nil
}

// keep reads how long providers keep idempotency keys.
func (v *verification) keep() (map[string]time.Duration, error) {
	out := map[string]time.Duration{}
	for _, text := range v.windows {
		channel, long, _ := strings.Cut(text, "=")
		window, err := time.ParseDuration(long)
		if err != nil || channel == "" || window <= 0 {
			return nil, usage("--window %q: want a channel and a time, such as push=1h", text)
		}
		out[channel] = window
	}
	return out, nil
}

// files reads what stands in files.
func (v *verification) files() (h ledger.History, err error) {
	for _, dir := range v.definitions {
		d, err := ledger.ReadDefinitions(os.DirFS(dir))
		if err != nil {
			return h, fmt.Errorf("--definitions %s: %w", dir, err)
		}
		if h.Definitions == nil {
			h.Definitions, h.Tenants = map[string]*ledger.Definitions{"": d}, map[string]*ledger.Definitions{}
		}
		h.Tenants[d.Tenant] = d
	}
	for _, path := range v.accepted {
		sent, err := ledger.ReadSent(path)
		if err != nil {
			return h, fmt.Errorf("--accepted: %w", err)
		}
		h.Sent = append(append([]ledger.Sent{}, h.Sent...), sent...)
	}
	for _, path := range v.received {
		received, err := ledger.ReadReceived(path)
		if err != nil {
			return h, fmt.Errorf("--received: %w", err)
		}
		h.Received = append(append([]ledger.Request{}, h.Received...), received...)
	}
	return h, nil
}

// verified prints a report; one that is not clean is a no.
func (a *app) verified(r *ledger.Report, limit int) error {
	var t table
	t.linef("ledger: %s", r.Totals)
	listed := r.Violations[:min(max(limit, 0), len(r.Violations))]
	for _, v := range listed {
		t.linef("  wrong: %s", clean(v.String()))
	}
	if more := r.Count - len(listed); more > 0 {
		t.linef("  … and %d more", more)
	}
	for _, what := range r.Unchecked {
		t.linef("  not checked: %s", clean(what))
	}
	r.Violations, r.Unchecked = append([]ledger.Violation{}, listed...), append([]string{}, r.Unchecked...)
	if err := a.print(r, t); err != nil {
		return err
	}
	if r.Count > 0 {
		return negative("%s", count(r.Count, "violation"))
	}
	return nil
}
