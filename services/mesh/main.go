// Command mesh runs the whole of Refrain in one process.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"refrain.dev/pkg/config"
	"refrain.dev/services/mesh/meshsvc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mesh:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	cfg := meshsvc.Default()
	err := config.Load(&cfg, config.Source{Service: "mesh", Args: os.Args[1:], Env: os.Environ(), Output: os.Stderr})
	if errors.Is(err, config.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	cfg.Dispatch.Secret = os.LookupEnv
	m, err := meshsvc.New(ctx, cfg, meshsvc.Env{Log: os.Stderr, Getenv: os.Getenv})
	if err != nil {
		return err
	}
	return m.Run(ctx)
}
