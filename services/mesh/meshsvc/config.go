package meshsvc

import (
	"errors"
	"fmt"
	"time"

	"refrain.dev/pkg/config"
	"refrain.dev/pkg/run"
	"refrain.dev/services/decision/decisionsvc"
	"refrain.dev/services/dispatch/dispatchsvc"
	"refrain.dev/services/ingest/ingestsvc"
	"refrain.dev/services/profile/profilesvc"
	"refrain.dev/services/suppression/suppressionsvc"
)

// Clocks and stores that can be asked for.
const (
	// ClockWall is the machine's clock.
	ClockWall = "wall"
	// ClockReplay is driven by the events.
	ClockReplay = "replay"
	// RedisAuto takes the redis-server or valkey-server on the PATH, else memory.
	RedisAuto = "auto"
	// RedisMemory keeps states in memory.
	RedisMemory = "memory"
)

// Config is what an operator sets.
type Config struct {
	// Dir keeps everything that lasts.
	Dir string `yaml:"dir" help:"directory of the log, the states and what channels write"`
	// Workspace is applied at the start if it is set.
	Workspace string `yaml:"workspace" help:"directory of definitions to apply at the start"`
	// Clock is wall or replay.
	Clock string `yaml:"clock" help:"wall, or replay: time follows the events"`
	// NATS is a running cluster; empty: the embedded server.
	NATS string `yaml:"nats" help:"URL of a running NATS; empty: embedded"`
	// NATSPort is where the embedded server listens on loopback.
	NATSPort int `yaml:"nats_port" help:"port of the embedded NATS on loopback; -1 takes a free one"`
	// SyncAlways makes the embedded server sync to disk before every acknowledgement.
	SyncAlways bool `yaml:"sync_always" help:"sync the embedded log to disk before acknowledging"`
	// Redis is auto, memory, or an address.
	Redis string `yaml:"redis" help:"auto (redis-server on the PATH, else memory), memory, or the address of a running one"`
	// Partitions of a new generation.
	Partitions int `yaml:"partitions" help:"partitions of a new mesh; fixed afterwards"`
	// GRPC and Admin are addresses to listen on.
	GRPC string `yaml:"grpc" help:"address of the gRPC server"`
	// Admin serves /healthz, /readyz, /metrics.
	Admin string `yaml:"admin" help:"address of /healthz, /readyz and /metrics"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `yaml:"log_level" help:"debug, info, warn or error"`
	// StopWithin bounds stopping.
	StopWithin config.Duration `yaml:"stop_within" help:"how long stopping may take"`

	// Retention is about snapshots and what of the log is kept.
	Retention run.Retention `yaml:"retention"`

	Ingest      ingestsvc.Config      `yaml:"ingest"`
	Profile     profilesvc.Config     `yaml:"profile"`
	Decision    decisionsvc.Config    `yaml:"decision"`
	Suppression suppressionsvc.Config `yaml:"suppression"`
	Dispatch    dispatchsvc.Config    `yaml:"dispatch"`
}

// Default listens on loopback and keeps everything in ./.run/mesh.
func Default() Config {
	ingest := ingestsvc.Default()
	ingest.HTTP = "127.0.0.1:8080"
	return Config{
		Dir: ".run/mesh", Clock: ClockWall, NATSPort: 4222, Redis: RedisAuto, Partitions: 8,
		GRPC: "127.0.0.1:9090", Admin: "127.0.0.1:9091", LogLevel: "info", StopWithin: config.Duration(20 * time.Second),
		Retention: run.DefaultRetention(),
		Ingest:    ingest, Profile: profilesvc.Default(), Decision: decisionsvc.Default(),
		Suppression: suppressionsvc.Default(), Dispatch: dispatchsvc.Default(),
	}
}

// Validate joins all problems.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("dir: is missing"))
	}
	if c.Clock != ClockWall && c.Clock != ClockReplay {
		errs = append(errs, fmt.Errorf("clock: %q is neither wall nor replay", c.Clock))
	}
	if c.Partitions < 1 || c.Partitions > 1024 {
		errs = append(errs, fmt.Errorf("partitions: %d is not between 1 and 1024", c.Partitions))
	}
	if c.Redis == "" {
		errs = append(errs, errors.New("redis: is missing; want auto, memory or an address"))
	}
	for _, v := range []config.Validator{c.Retention, c.Ingest, c.Profile, c.Decision, c.Suppression, c.Dispatch} {
		errs = append(errs, v.Validate())
	}
	return errors.Join(errs...)
}
