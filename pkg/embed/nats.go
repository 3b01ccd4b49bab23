// Package embed starts the servers that a mesh in one process brings along: NATS inside the process, and a
// Redis or Valkey that is found on the machine as a child process.
package embed

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"refrain.dev/pkg/log"
)

const (
	maxPayload   = 8 << 20
	maxMemory    = 256 << 20
	defaultStore = 1 << 40
	startWithin  = 30 * time.Second
)

// NATSConfig says how the embedded NATS server runs.
type NATSConfig struct {
	// Dir keeps the streams. It must be set.
	Dir string
	// Host and Port on which it listens; a Port of 0 or -1 takes a free one. An empty Host is 127.0.0.1.
	Host string
	Port int
	// DontListen lets nobody in but this process.
	DontListen bool
	// SyncAlways syncs every message to disk before it is acknowledged.
	SyncAlways bool
	// MaxStore bounds all streams together; 0 means that only the streams' own limits count.
	MaxStore int64
	// Name of the server, for people; default refrain.
	Name string
}

// NATS is an embedded NATS server with JetStream.
type NATS struct {
	server *server.Server
	cfg    NATSConfig
}

// StartNATS starts a server and returns when it takes connections. Everything that it stores is in Dir, so
// a server started there later continues.
func StartNATS(cfg NATSConfig) (*NATS, error) {
	if cfg.Dir == "" {
		return nil, errors.New("start NATS: a directory is needed")
	}
	s, err := server.NewServer(cfg.options())
	if err != nil {
		return nil, fmt.Errorf("start NATS in %s: %w", cfg.Dir, err)
	}
	go s.Start()
	if !s.ReadyForConnections(startWithin) {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("start NATS in %s: not ready within %s", cfg.Dir, startWithin)
	}
	return &NATS{server: s, cfg: cfg}, nil
}

func (cfg NATSConfig) options() *server.Options {
	o := &server.Options{
		ServerName: cfg.Name, Host: cfg.Host, Port: cfg.Port, DontListen: cfg.DontListen,
		JetStream: true, StoreDir: cfg.Dir, JetStreamMaxMemory: maxMemory, JetStreamMaxStore: cfg.MaxStore,
		SyncAlways: cfg.SyncAlways, MaxPayload: maxPayload, NoSigs: true, NoLog: true,
	}
	if o.ServerName == "" {
		o.ServerName = "refrain"
	}
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	if o.JetStreamMaxStore <= 0 {
		o.JetStreamMaxStore = defaultStore
	}
	return o
}

// Connect returns a connection inside the process. It reconnects for ever; the caller closes it.
func (n *NATS) Connect(opts ...nats.Option) (*nats.Conn, error) {
	opts = append([]nats.Option{nats.InProcessServer(n.server), nats.MaxReconnects(-1)}, opts...)
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded NATS: %w", err)
	}
	return nc, nil
}

// ClientURL is where others connect; empty if the server does not listen.
func (n *NATS) ClientURL() string {
	if n.cfg.DontListen {
		return ""
	}
	return n.server.ClientURL()
}

// Durability says when the server syncs what it stores.
func (n *NATS) Durability() log.Durability {
	d := log.Durability{Known: true, SyncAlways: n.cfg.SyncAlways, Source: "embedded server"}
	if info, err := n.server.Jsz(nil); err == nil && !d.SyncAlways {
		d.SyncInterval = info.Config.SyncInterval
	}
	return d
}

// Shutdown ends the server and waits until it has written everything. Idempotent.
func (n *NATS) Shutdown() {
	n.server.Shutdown()
	n.server.WaitForShutdown()
}
