package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"refrain.dev/pkg/config"
)

// New builds a service. It starts no goroutine; whatever it opened it closes again before it returns an
// error, also when ctx ended meanwhile.
type New[C any] func(ctx context.Context, cfg C, deps Deps) (Component, error)

// Option changes what a process is given.
type Option interface{ apply(*settings) }

type settings struct{ stateless bool }

type optionFunc func(*settings)

func (f optionFunc) apply(s *settings) { f(s) }

// Stateless is for a service that keeps no states: no Redis is connected and Deps.Store is nil.
func Stateless() Option { return optionFunc(func(s *settings) { s.stateless = true }) }

// whole is everything an operator sets: what every process has and what the service adds.
type whole[C any] struct {
	Run     Config `yaml:",inline"`
	Service C      `yaml:",inline"`
}

// Validate implements config.Validator.
func (w *whole[C]) Validate() error {
	err := w.Run.Validate()
	if v, ok := any(&w.Service).(config.Validator); ok {
		err = errors.Join(err, v.Validate())
	}
	return err
}

// Main is the main function of a service: it loads the settings over defaults, builds and runs until
// SIGINT or SIGTERM, and exits: 0 after a clean end, 1 after a failure, 2 if the settings are wrong. A
// second signal exits at once.
func Main[C any](name string, defaults C, build New[C], opts ...Option) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	env := Environment{Args: os.Args[1:], Env: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(Execute(ctx, Service[C]{Name: name, Defaults: defaults, Build: build, Options: opts}, env))
}

// Service is what Main runs.
type Service[C any] struct {
	Name     string
	Defaults C
	Build    New[C]
	Options  []Option
}

// Environment is what a process is started with.
type Environment struct {
	Args, Env      []string
	Stdout, Stderr io.Writer
}

// Execute is Main without signals and exit: it runs until ctx ends and returns the exit code.
func Execute[C any](ctx context.Context, s Service[C], env Environment) int {
	w := whole[C]{Run: Default(), Service: s.Defaults}
	err := config.Load(&w, config.Source{Service: s.Name, Args: env.Args, Env: env.Env, Output: env.Stderr})
	if errors.Is(err, config.ErrHelp) {
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintf(env.Stderr, "%s: %v\n", s.Name, err)
		return 2
	}
	var set settings
	for _, o := range s.Options {
		o.apply(&set)
	}
	p := process{name: s.Name, cfg: w.Run, settings: set, env: env}
	if err := p.run(ctx, func(ctx context.Context, deps Deps) (Component, error) { return s.Build(ctx, w.Service, deps) }); err != nil {
		_, _ = fmt.Fprintf(env.Stderr, "%s: %v\n", s.Name, err)
		return 1
	}
	return 0
}
