package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"refrain.dev/pkg/log"
)

// tailer prints the facts of chains.
type tailer struct {
	app       *app
	stages    []string
	partition int
	fromStart bool
	noFollow  bool
	what      []string

	mu sync.Mutex
}

// chain is one partition's log of one stage.
type chain struct {
	spec      log.StageSpec
	partition int
	subject   string
	after     uint64
}

func (a *app) tailCommand() *cobra.Command {
	t := &tailer{app: a}
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print the facts of the stages as they happen, one JSON object a line",
		Long: `tail reads the chains of the stages from NATS and prints every fact decoded, one JSON object a line,
in the order of each partition. It goes on until it is interrupted. The facts are personal data.`,
		Example: `  refrain tail
  refrain tail --stage suppression --what verdict_given
  refrain tail --from-start --no-follow --stage decision | jq -r .what | sort | uniq -c`,
		Args: args(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSite(cmd.Context(), func(site log.Site, gen log.Generation) error {
				return t.run(cmd.Context(), site, gen)
			})
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&t.stages, "stage", nil, "only these stages: "+strings.Join(stageNames(), ", "))
	f.IntVar(&t.partition, "partition", -1, "only this partition")
	f.StringSliceVar(&t.what, "what", nil, "only these facts, such as proposal_made")
	f.BoolVar(&t.fromStart, "from-start", false, "begin with the oldest record, not with the next one")
	f.BoolVar(&t.noFollow, "no-follow", false, "stop at the end of what is there")
	return cmd
}

func stageNames() []string {
	var names []string
	for _, s := range log.Stages() {
		names = append(names, s.Name)
	}
	return names
}

func (t *tailer) run(ctx context.Context, site log.Site, gen log.Generation) error {
	chains, err := t.chains(ctx, site, gen)
	if err != nil {
		return err
	}
	if t.noFollow {
		for _, c := range chains {
			if err := t.read(ctx, site, c); err != nil {
				return err
			}
		}
		return nil
	}
	err = t.follow(ctx, site, gen, chains)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // interrupted, as it is meant to be ended
	}
	return err
}

// chains lists what to read, each with the position to begin after.
func (t *tailer) chains(ctx context.Context, site log.Site, gen log.Generation) ([]chain, error) {
	for _, s := range t.stages {
		if !slices.Contains(stageNames(), s) {
			return nil, usage("--stage %q is not known: use %s", s, strings.Join(stageNames(), ", "))
		}
	}
	if t.partition >= gen.Partitions {
		return nil, usage("--partition %d is not there: the partitions are 0 to %d", t.partition, gen.Partitions-1)
	}
	var out []chain
	for _, spec := range log.Stages() {
		if len(t.stages) > 0 && !slices.Contains(t.stages, spec.Name) {
			continue
		}
		for p := range gen.Partitions {
			if t.partition >= 0 && p != t.partition {
				continue
			}
			c := chain{spec: spec, partition: p, subject: log.Subject(spec.Chain, p)}
			if !t.fromStart {
				last, err := site.Last(ctx, c.subject)
				if err != nil {
					return nil, fmt.Errorf("read the end of %s: %w", c.subject, err)
				}
				c.after = last.Sequence
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// read prints a chain up to its end.
func (t *tailer) read(ctx context.Context, site log.Site, c chain) error {
	for {
		m, err := site.Next(ctx, c.subject, c.after)
		if errors.Is(err, log.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", c.subject, err)
		}
		if err := t.show(c, m); err != nil {
			return err
		}
		c.after = m.Sequence
	}
}

// follow prints the chains as they grow, each in a goroutine; a feed reads those of one stream.
func (t *tailer) follow(ctx context.Context, site log.Site, gen log.Generation, chains []chain) error {
	byStream := map[string][]chain{}
	for _, c := range chains {
		key := fmt.Sprint(c.spec.Chain, c.partition%gen.Streams)
		byStream[key] = append(byStream[key], c)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	var feeds []log.Feed
	defer func() {
		for _, f := range feeds {
			f.Close()
		}
	}()
	for _, list := range byStream {
		from := map[string]uint64{}
		for _, c := range list {
			from[c.subject] = c.after
		}
		feed, err := site.Feed(ctx, from)
		if err != nil {
			cancel(err)
			return fmt.Errorf("read the chains: %w", err)
		}
		feeds = append(feeds, feed)
		for _, c := range list {
			wg.Go(func() { cancel(t.watch(ctx, feed.Tail(c.subject), c)) })
		}
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// watch prints what comes until the context ends.
func (t *tailer) watch(ctx context.Context, tail log.Tail, c chain) error {
	for {
		for {
			m, ok := tail.Peek()
			if !ok {
				break
			}
			if err := t.show(c, m); err != nil {
				return err
			}
			tail.Pop()
		}
		if err := tail.Err(); err != nil {
			return fmt.Errorf("read %s: %w", c.subject, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tail.Wake():
		}
	}
}

func (t *tailer) show(c chain, m log.Message) error {
	list, err := lines(c.spec, c.partition, m)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	enc := json.NewEncoder(t.app.Stdout)
	enc.SetEscapeHTML(false)
	for _, l := range list {
		if len(t.what) > 0 && !slices.Contains(t.what, l.What) {
			continue
		}
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}
