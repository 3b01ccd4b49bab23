package decisionsvc

import (
	"errors"
	"fmt"
	"time"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/config"
)

// Config is what an operator sets.
type Config struct {
	// Batch is the greatest number of inputs in a record.
	Batch int `yaml:"batch" help:"greatest number of inputs in a record"`
	// Deadline of a query that brings none.
	Deadline config.Duration `yaml:"deadline" help:"deadline of a query that brings none"`
	// ShowFor is how long an item may be shown.
	ShowFor config.Duration `yaml:"show_for" help:"how long an item may be shown"`
	// OutcomesFor is how long outcomes of an item are taken.
	OutcomesFor config.Duration `yaml:"outcomes_for" help:"how long outcomes of an item are taken"`
	// LogBuffer is how many answered queries may wait for the decision log; more are dropped and counted.
	LogBuffer int `yaml:"log_buffer" help:"how many answered queries may wait for the decision log"`
	// PublicURL is where customers reach ingest, for the unsubscribe links of items.
	PublicURL string `yaml:"public_url" help:"where customers reach ingest, for unsubscribe links in items"`
	// Suppression is the address of ContactService, for queries that reserve; empty: they are refused.
	Suppression string `yaml:"suppression" help:"address of the contact service, for queries that reserve"`
	// Catalogs compiles each catalog once for services that share a process; nil: every service on its own.
	Catalogs *catalog.Cache `yaml:"-"`
}

// Default returns the defaults.
func Default() Config {
	return Config{
		Batch:       256,
		Deadline:    config.Duration(150 * time.Millisecond),
		ShowFor:     config.Duration(time.Hour),
		OutcomesFor: config.Duration(30 * 24 * time.Hour),
		LogBuffer:   4096,
		PublicURL:   "http://127.0.0.1:8080",
	}
}

// Validate returns everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	positive := func(name string, d config.Duration) {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("%s: %s is not positive", name, d))
		}
	}
	if c.Batch < 1 || c.Batch > 4096 {
		errs = append(errs, errors.New("batch: must be between 1 and 4096"))
	}
	positive("deadline", c.Deadline)
	positive("show_for", c.ShowFor)
	positive("outcomes_for", c.OutcomesFor)
	if c.LogBuffer <= 0 {
		errs = append(errs, fmt.Errorf("log_buffer: %d is not positive", c.LogBuffer))
	}
	if err := config.PublicURL(c.PublicURL); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
