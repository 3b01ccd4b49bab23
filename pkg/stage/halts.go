package stage

import (
	"context"
	"fmt"
	"strings"

	"refrain.dev/pkg/log"
)

// haltKeys begins the keys under which it stands, by chain, why a partition must not go on.
const haltKeys = "halted/"

// noteHalt tells everyone that a partition must not go on: its process's readiness and metrics, and a key that
// operators read. The key is for people; that it cannot be written changes nothing.
func (p *partition) noteHalt(ctx context.Context, why *HaltError) {
	p.Stage.mu.Lock()
	p.stopped[p.number] = true
	p.Stage.mu.Unlock()
	if p.ports.Halted != nil {
		p.ports.Halted(p.number)
	}
	if err := p.ports.KV.Put(ctx, haltKeys+p.chainName, []byte(p.cfg.Replica+": "+why.Why)); err != nil {
		p.ports.Logger.Warn("the halt is not noted", "stage", p.cfg.Spec.Name, "partition", p.number, "error", err)
	}
}

// forgetHalt takes the key back when a partition has been taken over after all.
func (p *partition) forgetHalt(ctx context.Context) {
	value, _, err := p.ports.KV.Get(ctx, haltKeys+p.chainName)
	if err != nil || len(value) == 0 {
		return
	}
	if err := p.ports.KV.Put(ctx, haltKeys+p.chainName, nil); err != nil {
		p.ports.Logger.Warn("the end of a halt is not noted", "stage", p.cfg.Spec.Name, "partition", p.number, "error", err)
	}
}

// halts is how many partitions of the stage this process has halted.
func (s *Stage) halts() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.stopped)
}

// Halts lists the chains whose partitions were halted and not taken over since, each with the process that halted it
// and why.
func Halts(ctx context.Context, kv log.KV) (map[string]string, error) {
	keys, err := kv.Keys(ctx, haltKeys)
	if err != nil {
		return nil, fmt.Errorf("list halted partitions: %w", err)
	}
	out := map[string]string{}
	for _, key := range keys {
		value, _, err := kv.Get(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
		if len(value) > 0 {
			out[strings.TrimPrefix(key, haltKeys)] = string(value)
		}
	}
	return out, nil
}
