package ingestsvc

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"refrain.dev/pkg/config"
	"refrain.dev/pkg/event"
)

// Config is what an operator sets.
type Config struct {
	// HTTP is where the Segment API, CloudEvents, receipts and unsubscribe links are served; empty: nowhere.
	HTTP string `yaml:"http" help:"address of the HTTP entrances; empty: none"`
	// WriteKeys maps tenants to their write keys, several separated by spaces. With none, every key is
	// taken and belongs to DefaultTenant.
	WriteKeys map[string]config.Secret `yaml:"write_keys" help:"tenant=key,tenant=key; none: any key belongs to the default tenant"`
	// DefaultTenant owns what comes without write keys being set.
	DefaultTenant string `yaml:"default_tenant" help:"tenant while there are no write keys"`
	// StoreWithin bounds one append.
	StoreWithin config.Duration `yaml:"store_within" help:"how long one append may take"`
	// FullAt is the share of any stage's stream at which ingest stops.
	FullAt float64 `yaml:"full_at" help:"share of a stream at which ingest stops taking events"`
	// MaxLag is the age of the oldest unapplied live event at which ingest slows its publishers.
	MaxLag config.Duration `yaml:"max_lag" help:"age of the oldest unapplied event at which publishers are slowed"`
	// SampleEvery is how often fullness and lag are looked at.
	SampleEvery config.Duration `yaml:"sample_every" help:"how often fullness and lag are looked at"`
	// StopWithin bounds the drain.
	StopWithin config.Duration `yaml:"drain_within" help:"how long requests in flight may take to finish"`
}

// Default returns the settings that suit a first run.
func Default() Config {
	return Config{
		HTTP: ":8080", DefaultTenant: "default",
		StoreWithin: config.Duration(5 * time.Second),
		FullAt:      0.8, MaxLag: config.Duration(time.Minute), SampleEvery: config.Duration(time.Second),
		StopWithin: config.Duration(10 * time.Second),
	}
}

// Validate joins all problems.
func (c Config) Validate() error {
	var errs []error
	if why := event.TenantProblem(c.DefaultTenant); why != "" {
		errs = append(errs, fmt.Errorf("default_tenant: %s", why))
	}
	for tenant, keys := range c.WriteKeys {
		if why := event.TenantProblem(tenant); why != "" {
			errs = append(errs, fmt.Errorf("write_keys: %q %s", tenant, why))
		}
		if len(strings.Fields(keys.Reveal())) == 0 {
			errs = append(errs, fmt.Errorf("write_keys: %s has no key", tenant))
		}
	}
	if c.FullAt <= 0 || c.FullAt > 0.95 {
		errs = append(errs, errors.New("full_at: want more than 0 and at most 0.95"))
	}
	for name, d := range map[string]config.Duration{
		"store_within": c.StoreWithin, "max_lag": c.MaxLag, "sample_every": c.SampleEvery, "drain_within": c.StopWithin,
	} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("%s: must be positive", name))
		}
	}
	return errors.Join(errs...)
}
