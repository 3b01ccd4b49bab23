//go:build unix

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"refrain.dev/pkg/embed/child"
	"refrain.dev/pkg/embed/faultproxy"
	"refrain.dev/pkg/fault"
)

const (
	clusterName = "refrain"
	systemUser  = "system"
	// poll is how often a server that starts is looked at.
	poll = 20 * time.Millisecond
	// retireWithin is how long the server may take to end when it is asked to.
	retireWithin = 20 * time.Second
)

// Node is one server. Its methods must not be called at the same time.
type Node struct {
	cluster *Cluster
	name    string
	dir     string
	clients *faultproxy.Proxy
	routes  map[int]*faultproxy.Proxy // by the server that this one connects to

	process *child.Process
	paused  bool
	monitor string // URL of the running server's monitoring; not behind a proxy
}

// configure writes the configuration of server number i. The server tells others an address for routes where
// nobody listens: what it would tell by itself is a way around the proxies. It tells clients of no server beside
// those that they were given, so that somebody may put a proxy of his own in front of them.
func (n *Node) configure(i int) error {
	var routes []string
	for j := range n.cluster.nodes {
		if j != i {
			routes = append(routes, "nats://"+n.routes[j].Addr())
		}
	}
	config := fmt.Sprintf(`server_name: %[1]s
listen: "127.0.0.1:-1"
client_advertise: "%[2]s"
http: "127.0.0.1:-1"
ports_file_dir: %[3]q
max_payload: 8MB
jetstream { store_dir: %[4]q, max_memory_store: 256MB, max_file_store: 1TB, sync_interval: always }
cluster { name: %[5]s, listen: "127.0.0.1:-1", cluster_advertise: "%[6]s", no_advertise: true, routes: [%[7]s] }
accounts {
  MESH { jetstream: enabled, users: [{ user: mesh, password: mesh }] }
  SYSTEM { users: [{ user: %[8]s, password: %[8]s }] }
}
system_account: SYSTEM
no_auth_user: mesh
`, n.name, n.clients.Addr(), n.dir, filepath.Join(n.dir, "store"), clusterName, n.cluster.nowhere.Addr(),
		strings.Join(routes, ", "), systemUser)
	if err := os.WriteFile(n.configFile(), []byte(config), 0o600); err != nil {
		return fmt.Errorf("configure %s: %w", n.name, err)
	}
	return nil
}

func (n *Node) configFile() string { return filepath.Join(n.dir, "server.conf") }

// Name of the server.
func (n *Node) Name() string { return n.name }

// URL is where clients connect, also after a restart.
func (n *Node) URL() string { return "nats://" + n.clients.Addr() }

// Clients is the proxy between this server and its clients.
func (n *Node) Clients() *faultproxy.Proxy { return n.clients }

// Running says whether the process is there, if only paused.
func (n *Node) Running() bool { return n.process != nil && n.process.Running() }

// Paused says whether the process is paused.
func (n *Node) Paused() bool { return n.Running() && n.paused }

// Start starts the server on what it has in its directory and returns when it takes connections, which is
// before it has caught up. No effect if it is running.
func (n *Node) Start(ctx context.Context) error {
	if n.Running() {
		return nil
	}
	log, err := os.OpenFile(filepath.Join(n.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", n.name, err)
	}
	defer log.Close() //nolint:errcheck // the process has its own handle
	n.process, err = child.Start(child.Config{Path: n.cluster.cfg.Server, Args: []string{"-c", n.configFile()}, Output: log})
	if err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	n.paused = false
	if err := n.await(ctx); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", n.name, err), n.Kill())
	}
	return nil
}

// ports is what a server writes into its ports file when it listens.
type ports struct {
	Clients    []string `json:"nats"`
	Monitoring []string `json:"monitoring"`
	Cluster    []string `json:"cluster"`
}

// await waits until the server listens and sends connections there.
func (n *Node) await(ctx context.Context) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		p, err := n.ports()
		if err == nil {
			return n.retarget(p)
		}
		select {
		case <-n.process.Ended():
			return fault.New(fault.Unavailable, "it ended at once; see %s: %w", filepath.Join(n.dir, "server.log"), n.process.Err())
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// ports reads what the running process wrote. Kill removes it, so it is never an earlier process's.
func (n *Node) ports() (ports, error) {
	data, err := os.ReadFile(n.portsFile())
	if err != nil {
		return ports{}, fmt.Errorf("read ports: %w", err)
	}
	var p ports
	if err := json.Unmarshal(data, &p); err != nil {
		return ports{}, fmt.Errorf("decode ports: %w", err)
	}
	if len(p.Clients) == 0 || len(p.Monitoring) == 0 || len(p.Cluster) == 0 {
		return ports{}, fault.New(fault.Unavailable, "not all ports are open: %s", data)
	}
	return p, nil
}

func (n *Node) portsFile() string {
	return filepath.Join(n.dir, fmt.Sprintf("%s_%d.ports", filepath.Base(n.cluster.cfg.Server), n.process.PID()))
}

func (n *Node) retarget(p ports) error {
	clients, err := url.Parse(p.Clients[0])
	if err != nil {
		return fmt.Errorf("parse ports: %w", err)
	}
	routes, err := url.Parse(p.Cluster[0])
	if err != nil {
		return fmt.Errorf("parse ports: %w", err)
	}
	n.monitor = p.Monitoring[0]
	n.clients.Retarget(clients.Host)
	for _, other := range n.cluster.nodes {
		for j, proxy := range other.routes {
			if n.cluster.nodes[j] == n {
				proxy.Retarget(routes.Host)
			}
		}
	}
	return nil
}

// Kill ends the server without a warning (SIGKILL) and returns when it is gone. No effect if it is gone.
func (n *Node) Kill() error {
	if n.process == nil {
		return nil
	}
	if err := n.process.Kill(); err != nil {
		return err
	}
	// The file stays when a server is killed, and another one may get the number of the process.
	if err := os.Remove(n.portsFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("kill %s: %w", n.name, err)
	}
	return nil
}

// Retire ends the server as an operator does, in order, for the sake of comparison. No effect if it is gone.
func (n *Node) Retire() error {
	if n.process == nil {
		return nil
	}
	return n.process.Stop(retireWithin)
}

// Pause stops the server where it is (SIGSTOP) until Resume; its connections stay open.
func (n *Node) Pause() error {
	n.paused = true
	return n.process.Pause()
}

// Resume lets a paused server go on.
func (n *Node) Resume() error {
	n.paused = false
	return n.process.Resume()
}
