//go:build unix

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"refrain.dev/pkg/embed/faultproxy"
	"refrain.dev/pkg/fault"
)

// Config says what cluster to run.
type Config struct {
	// Server is the path of a nats-server; see Build.
	Server string
	// Dir keeps configurations, logs and what the servers store. It must be this cluster's own.
	Dir string
	// Nodes is how many servers; 0 means 3.
	Nodes int
}

// Cluster is a number of servers and the network between them. Its methods are safe for concurrent use;
// those of one Node are not.
type Cluster struct {
	cfg     Config
	nodes   []*Node
	nowhere *faultproxy.Proxy // the address that servers tell each other; see Node.configure
}

// Start starts all servers and returns when WaitReady would. ctx bounds the start only.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
	}
	if cfg.Dir == "" || cfg.Server == "" {
		return nil, fault.New(fault.Invalid, "start a NATS cluster: a directory and a server are needed")
	}
	c := &Cluster{cfg: cfg}
	err := c.build()
	if err == nil {
		var starts errgroup.Group
		for _, n := range c.nodes {
			starts.Go(func() error { return n.Start(ctx) })
		}
		err = starts.Wait()
	}
	if err == nil {
		err = c.WaitReady(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a NATS cluster in %s: %w", cfg.Dir, err), c.Stop())
	}
	return c, nil
}

// build makes the network and the configurations.
func (c *Cluster) build() (err error) {
	if c.nowhere, err = faultproxy.Listen(""); err != nil {
		return err
	}
	for i := range c.cfg.Nodes {
		n := &Node{cluster: c, name: fmt.Sprintf("n%d", i), routes: map[int]*faultproxy.Proxy{}}
		c.nodes = append(c.nodes, n)
		if n.clients, err = faultproxy.Listen(""); err != nil {
			return err
		}
		for j := range c.cfg.Nodes {
			if i == j {
				continue
			}
			if n.routes[j], err = faultproxy.Listen(""); err != nil {
				return err
			}
		}
	}
	for i, n := range c.nodes {
		n.dir = filepath.Join(c.cfg.Dir, n.name)
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			return fmt.Errorf("make directory of %s: %w", n.name, err)
		}
		if err := n.configure(i); err != nil {
			return err
		}
	}
	return nil
}

// Nodes are the servers.
func (c *Cluster) Nodes() []*Node { return c.nodes }

// URLs lists where clients connect, separated by commas. The addresses stay for the cluster's life.
func (c *Cluster) URLs() string {
	urls := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		urls[i] = n.URL()
	}
	return strings.Join(urls, ",")
}

// Connect returns a connection to any of the servers that reconnects for ever; the caller closes it.
func (c *Cluster) Connect(opts ...nats.Option) (*nats.Conn, error) {
	return connect(c.URLs(), opts...)
}

// ConnectSystem is Connect to the system account, for what only operators may do.
func (c *Cluster) ConnectSystem(opts ...nats.Option) (*nats.Conn, error) {
	return connect(c.URLs(), append([]nats.Option{nats.UserInfo(systemUser, systemUser)}, opts...)...)
}

func connect(urls string, opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect(urls, append([]nats.Option{nats.MaxReconnects(-1)}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to the NATS cluster: %w", err)
	}
	return nc, nil
}

// Link returns the proxies of the network between two servers, one for each that may have connected: a
// fault between the two is a fault of both.
func (c *Cluster) Link(i, j int) []*faultproxy.Proxy {
	return []*faultproxy.Proxy{c.nodes[i].routes[j], c.nodes[j].routes[i]}
}

// Links returns the proxies of the network between a server and all others.
func (c *Cluster) Links(i int) []*faultproxy.Proxy {
	var all []*faultproxy.Proxy
	for j := range c.nodes {
		if j != i {
			all = append(all, c.Link(i, j)...)
		}
	}
	return all
}

// Heal ends all faults of the network and resumes and starts all servers. It does not wait until they are
// ready.
func (c *Cluster) Heal(ctx context.Context) error {
	for _, p := range c.proxies() {
		p.Restore()
	}
	var errs []error
	for _, n := range c.nodes {
		if n.Running() {
			errs = append(errs, n.Resume())
		} else {
			errs = append(errs, n.Start(ctx))
		}
	}
	return errors.Join(errs...)
}

func (c *Cluster) proxies() []*faultproxy.Proxy {
	var all []*faultproxy.Proxy
	for _, n := range c.nodes {
		if n.clients != nil {
			all = append(all, n.clients)
		}
		for _, p := range n.routes {
			if p != nil {
				all = append(all, p)
			}
		}
	}
	return all
}

// Stop kills all servers and ends the network. Idempotent.
func (c *Cluster) Stop() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Kill())
	}
	for _, p := range append(c.proxies(), c.nowhere) {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	return errors.Join(errs...)
}
