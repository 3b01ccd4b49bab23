//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/tools/internal/fleet"
)

// currentWithin bounds how long brokers may need to be current again before the next of them is broken.
const currentWithin = 3 * time.Minute

// breakBrokers breaks brokers, one thing at a time: the next only when all streams are current again, so that
// never more than a minority is missing.
func (f *faults) breakBrokers(ctx context.Context) {
	random := f.random(partBrokers)
	for {
		fleet.Pause(ctx, every(random, f.plan.brokers))
		if ctx.Err() != nil {
			return
		}
		began := time.Now()
		what, err := f.breakBroker(ctx, random)
		f.failing(err)
		f.tally.add(what, 1)
		f.current(ctx)
		f.tally.took("brokers: until all are current again", time.Since(began))
	}
}

// current waits until all brokers are there and current, also beyond the end of ctx.
func (f *faults) current(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), currentWithin)
	defer cancel()
	f.failing(f.brokers.WaitReady(ctx))
}

func (f *faults) breakBroker(ctx context.Context, random *rand.Rand) (string, error) {
	nodes := f.brokers.Nodes()
	n := random.IntN(len(nodes))
	node, length := nodes[n], between(random, 0, 3*time.Second)
	switch k := random.IntN(20); {
	case k < 14:
		err := node.Kill()
		fleet.Pause(ctx, length)
		return "broker kills", errors.Join(err, node.Start(context.WithoutCancel(ctx)))
	case k == 14:
		err := node.Pause()
		fleet.Pause(ctx, length+f.plan.ttl)
		return "brokers: paused", errors.Join(err, node.Resume())
	case k < 17:
		how := random.IntN(3)
		f.breakLines(ctx, f.brokers.Links(n), how, length+time.Second)
		return "cuts: between brokers " + howNames()[how], nil
	default:
		return f.depose(ctx, random), nil
	}
}

// depose lets a stream choose another leader. That the answer gets lost is no error.
func (f *faults) depose(ctx context.Context, random *rand.Rand) string {
	specs := log.Stages()
	stream, err := f.streamOf(log.Subject(specs[random.IntN(len(specs))].Chain, 0))
	if err != nil {
		return "brokers: step-downs without an answer"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	msg, err := f.nc.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil)
	if err != nil || !accepted(msg) {
		return "brokers: step-downs without an answer"
	}
	return "brokers: step-downs"
}

// streamOf is the stream that has a subject.
func (f *faults) streamOf(subject string) (string, error) {
	js, err := f.nc.JetStream(nats.MaxWait(5 * time.Second))
	if err != nil {
		return "", fmt.Errorf("open the log: %w", err)
	}
	name, err := js.StreamNameBySubject(subject)
	if err != nil {
		return "", fmt.Errorf("find the stream of %s: %w", subject, err)
	}
	return name, nil
}

func accepted(msg *nats.Msg) bool {
	var answer struct{ Success bool }
	return json.Unmarshal(msg.Data, &answer) == nil && answer.Success
}

// breakStore kills, empties and sets Redis back.
func (f *faults) breakStore(ctx context.Context) {
	random := f.random(partStore)
	for {
		fleet.Pause(ctx, every(random, f.plan.redis))
		if ctx.Err() != nil {
			return
		}
		what, err := f.breakStoreOnce(ctx, random)
		if err != nil && ctx.Err() == nil {
			f.failing(fmt.Errorf("%s: %w", what, err))
		}
		f.tally.add(what, 1)
	}
}

func (f *faults) breakStoreOnce(ctx context.Context, random *rand.Rand) (string, error) {
	always := context.WithoutCancel(ctx)
	switch random.IntN(5) {
	case 0, 1:
		err := f.store.kill()
		fleet.Pause(ctx, between(random, 0, 2*time.Second))
		return "redis: killed, started again", errors.Join(err, f.store.start(always))
	case 2:
		if err := f.client.FlushAll(ctx).Err(); err != nil {
			return "redis: emptied", fault.As(fault.Unavailable, err)
		}
		return "redis: emptied", nil
	case 3:
		err := f.store.kill()
		return "redis: killed, files lost", errors.Join(err, f.store.forget(), f.store.start(always))
	default:
		kept, err := f.store.keep(ctx)
		if err != nil {
			return "redis: not set back", err
		}
		fleet.Pause(ctx, between(random, time.Second, 8*time.Second))
		err = f.store.kill()
		return "redis: set back", errors.Join(err, f.store.setBack(kept), f.store.start(always))
	}
}
