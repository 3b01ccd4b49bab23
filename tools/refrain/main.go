// Command refrain is the command line of Refrain: it checks and applies definitions, publishes events,
// asks for decisions and their reasons, and shows what happened. `refrain --help` lists the commands.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"refrain.dev/tools/refrain/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], cli.World{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Now: time.Now, Terminal: isTerminal(os.Stderr), Open: cli.OpenNATS,
	})
	stop()
	os.Exit(code)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
