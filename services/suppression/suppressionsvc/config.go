package suppressionsvc

import (
	"errors"
	"time"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/config"
)

// Config is what an operator sets.
type Config struct {
	// Batch is the greatest number of inputs in a record.
	Batch int `yaml:"batch" help:"greatest number of inputs in a record"`
	// Lease is how long room reserved by RPC is kept without a commit.
	Lease config.Duration `yaml:"lease" help:"how long room reserved by RPC is kept without a commit"`
	// Catalogs compiles each catalog once for services that share a process; nil: every service on its own.
	Catalogs *catalog.Cache `yaml:"-"`
}

// Default returns the settings that fit most.
func Default() Config {
	return Config{Batch: 256, Lease: config.Duration(5 * time.Minute)}
}

// Validate joins all problems.
func (c Config) Validate() error {
	var errs []error
	if c.Batch < 1 || c.Batch > 4096 {
		errs = append(errs, errors.New("batch: must be between 1 and 4096"))
	}
	if c.Lease < config.Duration(time.Second) || c.Lease > config.Duration(24*time.Hour) {
		errs = append(errs, errors.New("lease: must be between a second and a day"))
	}
	return errors.Join(errs...)
}
