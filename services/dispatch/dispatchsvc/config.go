package dispatchsvc

import (
	"errors"
	"fmt"
	"net/netip"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/config"
	"refrain.dev/services/dispatch/dispatchsvc/channel"
)

// Config is what an operator sets.
type Config struct {
	// Batch is the greatest number of inputs in a record.
	Batch int `yaml:"batch" help:"greatest number of inputs in a record"`
	// DataDir is where the file channels' relative paths lead; those of a tenant other than "default" to the directory of
	// its name in it.
	DataDir string `yaml:"data_dir" help:"directory of the file channels' relative paths"`
	// PublicURL is where recipients reach ingest, for unsubscribe links. Empty: DefaultPublicURL, or what the process
	// that ingest is in knows better.
	PublicURL string `yaml:"public_url" help:"where recipients reach ingest, https unless the host is this machine; empty: where the mesh's own ingest listens, else http://127.0.0.1:8080"`
	// TaskIdentifiers lets tasks for the team say who the customer is.
	TaskIdentifiers bool `yaml:"task_identifiers" help:"tasks for the team carry the customer's identifiers; without it the internal id alone"`
	// NATSURL is for nats channels that name no server; empty: the mesh's own.
	NATSURL string `yaml:"nats_url" help:"server of nats channels that name none; empty: the mesh's own"`
	// Allow lists address ranges that channels may call beside public ones.
	Allow []string `yaml:"allow" help:"address ranges that channels may call beside public ones"`
	// Secret gives what channels name by secret_env; only a main function sets it.
	Secret func(name string) (string, bool) `yaml:"-"`
	// Catalogs compiles each catalog once for services that share a process; nil: every service on its own.
	Catalogs *catalog.Cache `yaml:"-"`
	// Adapters are kinds of adapters beside those of package channel, by the word after "adapter:", or in the
	// place of some of them; which words a definition may use is the catalog's to say. Set by whoever embeds
	// dispatch, above all a simulated world, which has providers of its own.
	Adapters map[string]channel.Factory `yaml:"-"`
}

// DefaultPublicURL is where recipients reach an ingest on the same machine that listens where ingest usually does.
const DefaultPublicURL = "http://127.0.0.1:8080"

// Default returns the settings of a machine on its own; a cluster names its own ranges in Allow.
func Default() Config {
	return Config{
		Batch: 256, DataDir: "data", TaskIdentifiers: true,
		Allow: []string{"127.0.0.0/8", "::1/128"},
	}
}

// Validate joins all problems.
func (c Config) Validate() error {
	var errs []error
	if c.Batch < 1 || c.Batch > 4096 {
		errs = append(errs, errors.New("batch: must be between 1 and 4096"))
	}
	if c.DataDir == "" {
		errs = append(errs, errors.New("data_dir: is missing"))
	}
	if err := config.PublicURL(c.PublicURL); err != nil && c.PublicURL != "" {
		errs = append(errs, err)
	}
	if _, err := c.ranges(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c Config) ranges() ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, s := range c.Allow {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("allow: %q is not a range such as 10.0.0.0/8", s)
		}
		list = append(list, p)
	}
	return list, nil
}
