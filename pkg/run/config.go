package run

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"refrain.dev/pkg/config"
	"refrain.dev/pkg/membership"
)

// Config is what every service that runs as its own process is set up with, beside its own settings.
type Config struct {
	// Replica names the process in records and logs; the host's name by default.
	Replica string `yaml:"replica" help:"name of this process; the host's name by default"`
	// NATS is where the log is.
	NATS string `yaml:"nats" help:"NATS URLs, separated by commas"`
	// NATSCredentials is a credentials file.
	NATSCredentials string `yaml:"nats_credentials" help:"NATS credentials file"`
	// Redis is where states are kept.
	Redis string `yaml:"redis" help:"Redis or Valkey: host:port, host:port,… for a cluster, or a unix socket"`
	// Partitions that this process owns: auto, which shares them with the other replicas, all, or numbers and
	// ranges.
	Partitions string `yaml:"partitions" help:"partitions that this process owns: auto (shared with the other replicas), all, or such as 0-3,7"`
	// MembershipTTL is how long a replica that says nothing counts as there; all replicas must agree on it.
	MembershipTTL config.Duration `yaml:"membership_ttl" help:"how long a silent replica counts as there; the same for all replicas"`
	// MembershipHold is how long a partition stays at least before a newcomer gets it.
	MembershipHold config.Duration `yaml:"membership_hold" help:"how long a partition is kept at least before a newcomer gets it"`
	// Advertise is where the other replicas reach the gRPC server.
	Advertise string `yaml:"advertise" help:"host or host:port at which other replicas reach the gRPC server; by default where it listens, or, on all interfaces, the address that NATS sees"`
	// GRPC is where gRPC is served.
	GRPC string `yaml:"grpc" help:"address of the gRPC server"`
	// Admin is where health and metrics are served.
	Admin string `yaml:"admin" help:"address of /healthz, /readyz and /metrics"`
	// Prometheus turns /metrics on.
	Prometheus bool `yaml:"prometheus" help:"serve /metrics"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `yaml:"log_level" help:"debug, info, warn or error"`
	// StopWithin bounds stopping.
	StopWithin config.Duration `yaml:"stop_within" help:"how long stopping may take"`
	// Retention is about snapshots and what of the log is kept.
	Retention Retention `yaml:"retention"`
	// Failpoints are places at which the process kills itself, each with its probability. For tests only.
	Failpoints []string `yaml:"failpoints" help:"for tests: places at which the process kills itself, such as stage.appended=0.001"`
}

// auto as Partitions shares them with the other replicas.
const auto = "auto"

// Default returns the settings of a process on its own.
func Default() Config {
	return Config{
		NATS: "nats://127.0.0.1:4222", Redis: "127.0.0.1:6379", Partitions: auto,
		MembershipTTL: config.Duration(membership.DefaultTTL), MembershipHold: config.Duration(membership.DefaultHold),
		GRPC: ":7400", Admin: ":7401", Prometheus: true, LogLevel: "info",
		StopWithin: config.Duration(20 * time.Second), Retention: DefaultRetention(),
	}
}

// Validate joins all problems.
func (c Config) Validate() error {
	var errs []error
	if _, err := ParseOwner(c.Partitions); err != nil && c.Partitions != auto {
		errs = append(errs, err)
	}
	if c.MembershipTTL < config.Duration(time.Second) {
		errs = append(errs, errors.New("membership_ttl: must be a second at least"))
	}
	if c.MembershipHold < 0 {
		errs = append(errs, errors.New("membership_hold: must not be negative"))
	}
	if _, err := parseFailpoints(c.Failpoints); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, c.Retention.Validate())
	if c.NATS == "" {
		errs = append(errs, errors.New("nats: is missing"))
	}
	if _, err := c.level(); err != nil {
		errs = append(errs, err)
	}
	if c.StopWithin <= 0 {
		errs = append(errs, errors.New("stop_within: must be positive"))
	}
	return errors.Join(errs...)
}

func (c Config) level() (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return 0, fmt.Errorf("log_level: %q is not debug, info, warn or error", c.LogLevel)
	}
	return level, nil
}

// ParseOwner reads which partitions a process owns: "all", or numbers and ranges such as "0-3,7".
func ParseOwner(text string) (func(partition int) bool, error) {
	if text == "all" || text == "" {
		return func(int) bool { return true }, nil
	}
	owned := map[int]bool{}
	for item := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(item), "-")
		if !isRange {
			high = low
		}
		from, errFrom := strconv.Atoi(low)
		to, errTo := strconv.Atoi(high)
		if errFrom != nil || errTo != nil || from < 0 || from > to || to > 1023 {
			return nil, fmt.Errorf("partitions: %q is neither auto, all, a number nor a range such as 0-3", item)
		}
		for p := from; p <= to; p++ {
			owned[p] = true
		}
	}
	return func(p int) bool { return owned[p] }, nil
}
