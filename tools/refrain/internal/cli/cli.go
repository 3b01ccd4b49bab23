// Package cli is the refrain command. Each command is one file: it reads its flags, asks the mesh (gRPC,
// HTTP or NATS) and prints the answer as a table, JSON or YAML.
//
// Exit codes: 0 it is so, or it is done; 1 a negative answer (not found, nothing to do, definitions with
// errors); 2 wrong usage, or the mesh could not be asked.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"refrain.dev/pkg/log"
)

// World is everything the commands touch outside themselves.
type World struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Getenv reads the environment.
	Getenv func(string) string
	// Now is the machine's clock.
	Now func() time.Time
	// Terminal says that somebody watches Stderr, so that progress may be shown there.
	Terminal bool
	// Open connects to the log at a NATS URL; the caller calls the function when it is done.
	Open func(ctx context.Context, url string) (log.Site, func(), error)
	// Dial is added to the options of every gRPC connection.
	Dial []grpc.DialOption
}

// The exit codes.
const (
	exitOK       = 0
	exitNegative = 1
	exitUsage    = 2
)

// app is one invocation: the world and the flags that all commands have.
type app struct {
	World
	format   string
	natsURL  string
	grpcAddr string
	httpURL  string
	tenant   string
	timeout  time.Duration
}

// Run runs one command line and returns its exit code.
func Run(ctx context.Context, args []string, w World) int {
	a := &app{World: w}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(w.Stdin)
	root.SetOut(w.Stdout)
	root.SetErr(w.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[*negativeError](err); ok {
		if text := err.Error(); text != "" {
			_, _ = fmt.Fprintln(w.Stderr, text)
		}
		return exitNegative
	}
	text := err.Error()
	if _, ok := errors.AsType[*usageError](err); ok || strings.HasPrefix(text, "unknown command") {
		text = fmt.Sprintf("%s ('%s --help' says more)", oneLine(text), cmd.CommandPath())
	}
	_, _ = fmt.Fprintf(w.Stderr, "refrain: %s\n", text)
	return exitUsage
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "refrain",
		Short: "The next-best-action mesh, from the command line",
		Long: `refrain checks and applies definitions, publishes events, asks for decisions and their
reasons, and shows what happened.

A customer is named by an identifier, kind:value; the kind is user_id if left out:
  refrain profile ann          refrain profile email:ann@shop.example
The internal id that the log, tasks and timelines show names one too: refrain profile 5d6c…, or profile:5d6c….

Exit codes: 0 done, or yes; 1 no (not found, nothing to do, definitions with errors);
2 wrong usage, or the mesh could not be asked.`,
		Example: `  refrain validate examples/retail
  refrain apply examples/retail
  refrain publish events.ndjson
  refrain decide ann web-banner
  refrain timeline ann -o json`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.checkFlags() },
	}
	a.flags(root)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddGroup(
		&cobra.Group{ID: groupDefinitions, Title: "Definitions:"},
		&cobra.Group{ID: groupCustomers, Title: "Events and customers:"},
		&cobra.Group{ID: groupOperation, Title: "Operation:"})
	for group, commands := range map[string][]*cobra.Command{
		groupDefinitions: {a.validateCommand(), a.schemaCommand(), a.applyCommand(), a.removeCommand(), a.getCommand()},
		groupCustomers: {
			a.publishCommand(), a.importCommand(), a.decideCommand(), a.contactCommand(), a.explainCommand(), a.profileCommand(), a.timelineCommand(), a.deliveriesCommand(),
		},
		groupOperation: {a.dlqCommand(), a.provisionCommand(), a.tailCommand(), a.statusCommand(), a.clockCommand(), a.ledgerCommand(), a.snapshotCommand(), a.rebuildCommand()},
	} {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	return root
}

const (
	groupDefinitions = "definitions"
	groupCustomers   = "customers"
	groupOperation   = "operation"
)

func (a *app) flags(root *cobra.Command) {
	env := func(name, fallback string) string {
		if v := a.Getenv(name); v != "" {
			return v
		}
		return fallback
	}
	f := root.PersistentFlags()
	f.StringVarP(&a.format, "output", "o", "table", "how to print: table, json or yaml")
	f.StringVar(&a.natsURL, "nats", env("REFRAIN_NATS", "nats://127.0.0.1:4222"), "NATS URL (REFRAIN_NATS)")
	f.StringVar(&a.grpcAddr, "grpc", env("REFRAIN_GRPC", "127.0.0.1:9090"), "gRPC address (REFRAIN_GRPC)")
	f.StringVar(&a.httpURL, "http", env("REFRAIN_HTTP", "http://127.0.0.1:8080"), "HTTP URL of ingest (REFRAIN_HTTP)")
	f.StringVar(&a.tenant, "tenant", env("REFRAIN_TENANT", ""), "tenant; empty means default (REFRAIN_TENANT)")
	f.DurationVar(&a.timeout, "timeout", 10*time.Second, "how long one request may take")
}

func (a *app) checkFlags() error {
	switch a.format {
	case formatTable, formatJSON, formatYAML:
	default:
		return usage("--output %q is not known: use table, json or yaml", a.format)
	}
	if a.timeout <= 0 {
		return usage("--timeout must be more than 0")
	}
	return nil
}

// args checks the number of arguments and says what is missing in words.
func args(least, most int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, given []string) error {
		if len(given) < least || len(given) > most {
			return usage("want %s, got %d argument(s)", what, len(given))
		}
		return nil
	}
}
