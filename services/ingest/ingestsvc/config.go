package ingestsvc

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"refrain.dev/pkg/config"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/snapshot"
)

// Config is what an operator sets.
type Config struct {
	// HTTP is where the Segment API, CloudEvents, receipts and unsubscribe links are served; empty: nowhere.
	HTTP string `yaml:"http" help:"address of the HTTP entrances; empty: none"`
	// Listener is where HTTP is served instead, opened by the process that ingest is in; nil: ingest opens HTTP itself.
	// It is ingest's to close once it runs.
	Listener net.Listener `yaml:"-"`
	// WriteKeys maps tenants to their write keys, several separated by spaces. With none, every key is
	// taken and belongs to DefaultTenant.
	WriteKeys map[string]config.Secret `yaml:"write_keys" help:"tenant=key,tenant=key; none: any key belongs to the default tenant"`
	// DefaultTenant owns what comes without write keys being set.
	DefaultTenant string `yaml:"default_tenant" help:"tenant while there are no write keys"`
	// StoreWithin bounds one append.
	StoreWithin config.Duration `yaml:"store_within" help:"how long one append may take"`
	// FullAt is the share of any stage's stream at which live events are not taken any more, BulkFullAt that
	// for bulk events. Opt-outs and receipts are taken until the stream is full.
	FullAt     float64 `yaml:"full_at" help:"share of a stream at which no live event is taken any more"`
	BulkFullAt float64 `yaml:"bulk_full_at" help:"share of a stream at which no bulk event is taken any more"`
	// MaxWait is how long a live event that is taken may have to wait for the stages, by their present pace;
	// BulkMaxWait that of bulk events. Both count partition by partition.
	MaxWait     config.Duration `yaml:"max_wait" help:"how long a live event may have to wait for the stages, by their pace, to be taken"`
	BulkMaxWait config.Duration `yaml:"bulk_max_wait" help:"the same for bulk events"`
	// MaxLag is the age of the oldest event on its way at which a partition takes no more of its lane.
	MaxLag config.Duration `yaml:"max_lag" help:"age of the oldest event on its way at which its partition takes no more"`
	// MaxQueue is how long an event that is taken may have to wait for appends before its own; half of it for
	// bulk events.
	MaxQueue config.Duration `yaml:"max_queue" help:"how long an event may have to wait for appends before its own to be taken"`
	// CustomerRate and CustomerBurst bound the live events of one customer; a rate of 0 bounds nothing.
	CustomerRate  float64 `yaml:"customer_rate" help:"live events per second that one customer may have for long; 0: any number"`
	CustomerBurst int     `yaml:"customer_burst" help:"live events that one customer may have at once"`
	// Memory bounds what requests in hand may take.
	Memory config.Bytes `yaml:"memory" help:"memory for requests in hand"`
	// Workers is how many requests are parsed at once; 0: two for each CPU.
	Workers int `yaml:"workers" help:"requests that are parsed at once; 0: two for each CPU"`
	// SampleEvery is how often fullness and identifier kinds are looked at, LookEvery how often the stages'
	// progress is while something is on its way.
	SampleEvery config.Duration `yaml:"sample_every" help:"how often fullness and identifier kinds are looked at"`
	LookEvery   config.Duration `yaml:"look_every" help:"how often the stages' progress is looked at while something is on its way"`
	// StopWithin bounds the drain.
	StopWithin config.Duration `yaml:"drain_within" help:"how long requests in flight may take to finish"`
}

// Default returns the settings that suit a first run.
func Default() Config {
	return Config{
		HTTP: ":8080", DefaultTenant: "default",
		StoreWithin: config.Duration(5 * time.Second),
		FullAt:      0.8, BulkFullAt: 0.7,
		MaxWait: config.Duration(2 * time.Second), BulkMaxWait: config.Duration(10 * time.Second),
		MaxLag: config.Duration(time.Minute), MaxQueue: config.Duration(500 * time.Millisecond),
		CustomerRate: 100, CustomerBurst: 2500, Memory: 64 << 20,
		SampleEvery: config.Duration(time.Second), LookEvery: config.Duration(200 * time.Millisecond),
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
	return errors.Join(append(errs, c.validateLimits()...)...)
}

// leastMemory is room for a few requests of the greatest size.
const leastMemory = 8 << 20

// leastFullAt is the least share of a stream at which a lane may be closed. It opens again a little below that, and
// streams are only trimmed so far with certainty: with less it could stay closed for good.
const leastFullAt = snapshot.PressedFrom + reopens

func (c Config) validateLimits() []error {
	var errs []error
	check := func(ok bool, text string) {
		if !ok {
			errs = append(errs, errors.New(text))
		}
	}
	check(c.FullAt > 0 && c.FullAt <= 0.95, "full_at: want more than 0 and at most 0.95")
	check(c.BulkFullAt >= leastFullAt && c.BulkFullAt <= c.FullAt, "bulk_full_at: want at least 0.65, and at most full_at")
	check(c.CustomerRate >= 0, "customer_rate: must not be negative")
	check(c.CustomerRate == 0 || c.CustomerBurst > 0, "customer_burst: must be positive")
	check(c.Memory >= leastMemory, "memory: want at least 8MiB")
	check(c.Workers >= 0, "workers: must not be negative")
	for _, d := range []struct {
		name string
		is   config.Duration
	}{
		{"store_within", c.StoreWithin}, {"max_wait", c.MaxWait}, {"bulk_max_wait", c.BulkMaxWait}, {"max_lag", c.MaxLag},
		{"max_queue", c.MaxQueue}, {"sample_every", c.SampleEvery}, {"look_every", c.LookEvery}, {"drain_within", c.StopWithin},
	} {
		check(d.is > 0, d.name+": must be positive")
	}
	return errs
}
