package profilesvc

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
	// ReadWait bounds how long a read waits for the position it asks for.
	ReadWait config.Duration `yaml:"read_wait" help:"how long a read waits for the position it asks for"`
	// ShowIdentifiers lets answers carry identifiers and addresses in clear.
	ShowIdentifiers bool `yaml:"show_identifiers" help:"answers carry identifiers and addresses; without it they are left empty"`
	// Catalogs compiles each catalog once for services that share a process; nil: every service on its own.
	Catalogs *catalog.Cache `yaml:"-"`
}

// Default returns the settings that fit most.
func Default() Config {
	return Config{Batch: 256, ReadWait: config.Duration(time.Second), ShowIdentifiers: true}
}

// Validate joins all problems.
func (c Config) Validate() error {
	var errs []error
	if c.Batch < 1 || c.Batch > 4096 {
		errs = append(errs, errors.New("batch: must be between 1 and 4096"))
	}
	if c.ReadWait < 0 {
		errs = append(errs, errors.New("read_wait: must not be negative"))
	}
	return errors.Join(errs...)
}
