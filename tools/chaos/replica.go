//go:build unix

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"refrain.dev/pkg/embed/faultproxy"
	"refrain.dev/tools/internal/fleet"
)

// replica is one process of a service, with a network of its own to the brokers and to Redis.
type replica struct {
	*fleet.Process

	service string
	// busy is held by whoever breaks the process or starts it again.
	busy sync.Mutex
	// brokers are the ways to each broker, redis the way to Redis.
	brokers []*faultproxy.Proxy
	redis   *faultproxy.Proxy
}

func (w *world) newReplica(service string, n int) (*replica, error) {
	r := &replica{service: service}
	var urls []string
	for _, node := range w.brokers.Nodes() {
		p, err := faultproxy.Listen(node.Clients().Addr())
		if err != nil {
			return nil, err
		}
		r.brokers, urls = append(r.brokers, p), append(urls, "nats://"+p.Addr())
	}
	var err error
	if r.redis, err = faultproxy.Listen(w.store.socket); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s-%d", service, n)
	args := []string{
		"--nats", strings.Join(urls, ","), "--replica", name, "--grpc", "127.0.0.1:0", "--admin", "",
		"--membership-ttl", w.plan.ttl.String(), "--membership-hold", w.plan.ttl.String(), "--stop-within", "1m",
	}
	r.Process, err = fleet.New(fleet.Config{
		Name: name, Dir: w.path("logs"), Path: filepath.Join(w.path("bin"), service),
		Args: append(args, w.settings(r)...), Env: append(os.Environ(), secretEnv+"="+secret),
	})
	return r, err
}

// settings of a service, beside those that all have.
func (w *world) settings(r *replica) []string {
	if r.service == "ingest" {
		// Faults let everything wait. The door shall stay open: refusals are for the load test.
		return []string{"--http", "127.0.0.1:0", "--max-lag", "10m", "--max-wait", "1m", "--bulk-max-wait", "1m", "--drain-within", "30s"}
	}
	all := []string{
		"--redis", r.redis.Addr(), "--retention-every", "10s", "--retention-records", "500",
		"--retention-history", historyOf.String(), "--retention-inputs", inputsOf.String(),
	}
	switch r.service {
	case "dispatch":
		return append(all, "--data-dir", w.path("channels"))
	case "decision":
		return append(all, "--suppression", w.contact.Addr())
	case "suppression":
		return append(all, "--lease", leaseOfRoom.String())
	}
	return all
}

// leaseOfRoom is how long room that was reserved is kept without a commit.
const leaseOfRoom = 8 * time.Second

// points are the places between effects at which processes kill themselves, with the chance of it each time
// that one is passed. Those that are passed often have small chances.
func points(service string) []string {
	common := []string{
		"stage.appended=0.01", "stage.applied=0.01", "stage.opened=0.1", "stage.copied=0.05", "stage.saved=0.02", "stage.relayed=0.02",
		"stage.attempted=0.005", "stage.deadlettered=0.2", "snapshot.stored=0.1", "snapshot.listed=0.1", "snapshot.verified=0.1", "snapshot.restored=0.2", "snapshot.trimmed=0.1",
	}
	switch service {
	case "ingest":
		return []string{"ingest.stored=0.01", "ingest.answered=0.01"}
	case "suppression":
		return append(common, "stage.answered=0.05")
	case "dispatch":
		return append(common, "dispatch.checked=0.03", "dispatch.sent=0.03", "dispatch.looked=0.03", "dispatch.pinged=0.01", "stage.called=0.03", "stage.orphaned=0.2")
	}
	return common
}

// start starts the process, in some lives with two places at which it kills itself.
func (r *replica) start(random *rand.Rand, failpoints float64) error {
	all := points(r.service)
	chance, a, b := random.Float64(), random.IntN(len(all)), random.IntN(len(all))
	if chance >= failpoints {
		return r.Process.Start(false)
	}
	return r.Process.Start(true, "--failpoints", all[a]+","+all[b])
}

// heal ends all faults of the network around the process.
func (r *replica) heal() {
	for _, p := range append(r.brokers, r.redis) {
		p.Restore()
	}
}

func (r *replica) close() error {
	errs := []error{r.Process.Close()}
	for _, p := range append(r.brokers, r.redis) {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
