//go:build unix

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"refrain.dev/pkg/fault"
)

const (
	// askWithin bounds one question to one server's monitoring.
	askWithin = 2 * time.Second
	// answerBytes bounds what it answers.
	answerBytes = 64 << 20
	readyPoll   = 50 * time.Millisecond
)

// jetStream is the part of a server's monitoring that tells who leads what.
type jetStream struct {
	Meta     group `json:"meta_cluster"`
	Accounts []struct {
		Streams []struct {
			Name  string `json:"name"`
			Group group  `json:"cluster"`
		} `json:"stream_detail"`
	} `json:"account_details"`
}

// group is a Raft group as one server sees it; only its leader knows about all replicas.
type group struct {
	Leader   string `json:"leader"`
	Size     int    `json:"cluster_size"` // of the meta group only
	Replicas []struct {
		Name    string `json:"name"`
		Current bool   `json:"current"`
		Offline bool   `json:"offline"`
	} `json:"replicas"`
}

// current says what keeps the group from having all its replicas up to date.
func (g group) current() error {
	for _, r := range g.Replicas {
		if r.Offline || !r.Current {
			return fault.New(fault.Unavailable, "%s is not current", r.Name)
		}
	}
	return nil
}

// WaitReady waits until all servers run and are healthy, agree on who leads JetStream, and every stream has
// a leader and all its replicas are current. The error says what it was waiting for when ctx ended.
func (c *Cluster) WaitReady(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := c.Ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until the NATS cluster is ready: %w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Ready is WaitReady without waiting.
func (c *Cluster) Ready(ctx context.Context) error {
	var meta string
	led := map[string]bool{}
	for i, n := range c.nodes {
		js, err := n.health(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
		if i == 0 {
			meta = js.Meta.Leader
		}
		if js.Meta.Leader == "" || js.Meta.Leader != meta {
			return fault.New(fault.Unavailable, "%s says that %q leads JetStream, %s says %q", c.nodes[0].name, meta, n.name, js.Meta.Leader)
		}
		if meta == n.name {
			if err := c.wholeMeta(js.Meta); err != nil {
				return fmt.Errorf("JetStream, led by %s: %w", n.name, err)
			}
		}
		if err := n.leads(js, led); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	for stream, ok := range led {
		if !ok {
			return fault.New(fault.Unavailable, "stream %s has no leader", stream)
		}
	}
	return nil
}

func (c *Cluster) wholeMeta(g group) error {
	if g.Size != len(c.nodes) || len(g.Replicas) != len(c.nodes)-1 {
		return fault.New(fault.Unavailable, "%d servers with %d replicas, want %d servers", g.Size, len(g.Replicas), len(c.nodes))
	}
	return g.current()
}

// leads notes in led which streams the server has, and true for those that it leads, all of which must be
// current.
func (n *Node) leads(js jetStream, led map[string]bool) error {
	for _, a := range js.Accounts {
		for _, s := range a.Streams {
			leads := s.Group.Leader == n.name
			led[s.Name] = led[s.Name] || leads
			if !leads {
				continue
			}
			if err := s.Group.current(); err != nil {
				return fmt.Errorf("stream %s: %w", s.Name, err)
			}
		}
	}
	return nil
}

// health asks the server whether it has caught up, and who leads what.
func (n *Node) health(ctx context.Context) (jetStream, error) {
	if !n.Running() {
		return jetStream{}, fault.New(fault.Unavailable, "it is not running")
	}
	if _, err := n.ask(ctx, "/healthz"); err != nil {
		return jetStream{}, err
	}
	data, err := n.ask(ctx, "/jsz?accounts=true&streams=true")
	if err != nil {
		return jetStream{}, err
	}
	var js jetStream
	if err := json.Unmarshal(data, &js); err != nil {
		return jetStream{}, fmt.Errorf("decode monitoring: %w", err)
	}
	return js, nil
}

// Routes lists the names of the servers that this one is connected to, sorted.
func (n *Node) Routes(ctx context.Context) ([]string, error) {
	data, err := n.ask(ctx, "/routez")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.name, err)
	}
	var answer struct {
		Routes []struct {
			Name string `json:"remote_name"`
		} `json:"routes"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("%s: decode monitoring: %w", n.name, err)
	}
	names := map[string]struct{}{}
	for _, r := range answer.Routes {
		names[r.Name] = struct{}{}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// ask asks the server's monitoring, around the proxies.
func (n *Node) ask(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.monitor+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", path, err)
	}
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", path, err)
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(answer.Body, answerBytes))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", path, err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fault.New(fault.Unavailable, "ask %s: %s: %s", path, answer.Status, data)
	}
	return data, nil
}
