//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/tools/ledger"
)

// What a process keeps of its past is short, so that it is trimmed while things break; what is read of the log
// until then is all that it ever held.
const (
	historyOf = 30 * time.Second
	inputsOf  = 40 * time.Second
)

// kept is everything that the log ever held. One goroutine uses it.
type kept struct {
	site    *log.JetStream
	archive *ledger.Archive
	// trimmed is how many of its messages the log has no more.
	trimmed uint64
	lost    error // what was trimmed before it was read
	stop    func()
}

func newKept(w *world) *kept { return &kept{site: w.site, archive: ledger.NewArchive(w.site, w.gen)} }

// follow reads what is new until it is stopped.
func (k *kept) follow(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() { k.lost = errors.Join(k.lost, k.archive.Follow(ctx)) })
	k.stop = func() {
		cancel()
		wait.Wait()
	}
}

// load returns everything, with the states unless that is nil.
func (k *kept) load(ctx context.Context, states ledger.Store) (*ledger.History, error) {
	k.stop()
	defer k.follow(context.WithoutCancel(ctx))
	if k.lost != nil {
		return nil, fmt.Errorf("keep the log: %w", k.lost)
	}
	h, err := k.archive.Load(ctx, states)
	if err != nil {
		return nil, fmt.Errorf("read the mesh: %w", err)
	}
	return h, k.count(ctx, h)
}

// count compares what there is with what there was.
func (k *kept) count(ctx context.Context, h *ledger.History) error {
	k.trimmed = 0
	for subject, all := range h.Log {
		first, err := k.site.Next(ctx, subject, 0)
		if err != nil {
			return fmt.Errorf("read the begin of %s: %w", subject, err)
		}
		for _, msg := range all {
			if msg.Sequence < first.Sequence {
				k.trimmed++
			}
		}
	}
	return nil
}
