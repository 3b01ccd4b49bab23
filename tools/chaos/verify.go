//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/tools/ledger"
)

// skew is by how much clocks may differ: it is one machine, and a process may be slow between reading its clock
// and using it.
const skew = 100 * time.Millisecond

// mostShown bounds the list of what is wrong.
const mostShown = 40

// verify holds everything against what was acknowledged and what the providers have.
func (r *run) verify(ctx context.Context) error {
	w := r.world
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	h, err := r.kept.load(ctx, w.states)
	if err != nil {
		return err
	}
	var errs [3]error
	var notes []ledger.Request
	h.Sent, errs[0] = ledger.ReadSent(w.path("sent.jsonl"))
	h.Received, errs[1] = ledger.ReadReceived(w.path("received.jsonl"))
	notes, errs[2] = ledger.ReadFileChannel(w.path("channels", "stock.jsonl"))
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	h.Received = slices.Concat(h.Received, notes)
	h.Definitions = map[string]*ledger.Definitions{}
	for _, ws := range w.workspaces {
		h.Definitions[ws.Revision] = ws.rules
	}
	h.AllSent, h.Settled, h.Skew = true, true, skew
	r.report = ledger.Verify(h)
	for _, v := range r.report.Violations {
		r.wrong = append(r.wrong, v.String())
	}
	r.wrong = append(r.wrong, r.report.Unchecked...)
	if err := r.checkCalls(h); err != nil {
		return err
	}
	r.gather()
	handovers(h, w.tally)
	r.print(h)
	if n := r.violations(); n > 0 {
		return errors.Join(fmt.Errorf("%d things are wrong", n), r.dump(h))
	}
	return nil
}

// gather adds what clients, the provider and the processes complained about.
func (r *run) gather() {
	r.clients.mu.Lock()
	defer r.clients.mu.Unlock()
	r.wrong = append(r.wrong, r.clients.wrong...)
	r.world.provider.mu.Lock()
	defer r.world.provider.mu.Unlock()
	r.wrong = append(r.wrong, r.world.provider.bad...)
	r.faults.mu.Lock()
	defer r.faults.mu.Unlock()
	for _, err := range r.faults.failed {
		r.wrong = append(r.wrong, err.Error())
	}
}

// violations counts everything that is wrong, also what is not listed.
func (r *run) violations() int {
	if r.report == nil {
		return len(r.wrong)
	}
	return len(r.wrong) + r.report.Count - len(r.report.Violations)
}

// checkCalls holds what callers were told about their own contacts against the chain.
func (r *run) checkCalls(h *ledger.History) error {
	made, used, freed := map[string]int{}, map[string]int{}, map[string]int{}
	for p := range h.Partitions {
		for _, msg := range h.Log[log.Subject("vdc", p)] {
			_, cells, err := ledger.Open(msg)
			if err != nil {
				return err //nolint:wrapcheck // says which record
			}
			for _, data := range facts(cells) {
				f := &contactv1.Fact{}
				if err := f.UnmarshalVT(data); err != nil {
					return fmt.Errorf("read a fact: %w", err)
				}
				made[f.GetReservationMade().GetEntry().GetId()]++
				used[f.GetReservationCommitted().GetId()]++
				freed[f.GetReservationReleased().GetId()]++
			}
		}
	}
	for _, c := range r.clients.calls {
		for _, bad := range []struct {
			is   bool
			what string
		}{
			{c.Reserved && made[c.ID] == 0, "room was promised"}, // twice, if a repeat came when its time was over
			{c.Committed && used[c.ID] != 1, "its use was confirmed"},
			{c.Released && freed[c.ID] == 0, "its release was confirmed"},
			{c.Gone && freed[c.ID] == 0, "it was said to be gone"},
			{used[c.ID]+freed[c.ID] != made[c.ID], "it did not end as often as it was made"},
		} {
			if bad.is {
				r.wrong = append(r.wrong, fmt.Sprintf("reservation %s: %s, and the chain has it made %d, used %d, freed %d times", c.ID, bad.what, made[c.ID], used[c.ID], freed[c.ID]))
			}
		}
	}
	return nil
}

// facts of cells, in order.
func facts(cells []ledger.Cell) (all [][]byte) {
	for _, c := range cells {
		all = append(all, c.Body.GetFacts()...)
	}
	return all
}

// print says what happened.
func (r *run) print(h *ledger.History) {
	for _, line := range r.world.tally.lines() {
		fmt.Fprintln(r.out, "  "+line)
	}
	letters := 0
	for subject, all := range h.Log {
		if strings.HasPrefix(subject, "dlq.") {
			letters += len(all)
		}
	}
	fmt.Fprintf(r.out, "  %d records, %d of all messages trimmed, %d dead letters, %d requests reached providers, %d callers' contacts\n  %v\n",
		r.report.Records, r.kept.trimmed, letters, len(h.Received), len(r.clients.calls), r.report.Totals)
	for n, what := range r.wrong {
		if n == mostShown {
			fmt.Fprintf(r.out, "  … and %d more\n", len(r.wrong)-n)
			break
		}
		fmt.Fprintf(r.out, "  wrong: %s\n", what)
	}
}

// dump keeps all of the log, and what was found, beside the logs of processes, clients and providers.
func (r *run) dump(h *ledger.History) error {
	for name, v := range map[string]any{"log.json": h.Log, "report.json": r.report, "wrong.json": r.wrong, "calls.json": r.clients.calls} {
		data, err := json.Marshal(v)
		if err == nil {
			err = os.WriteFile(filepath.Join(r.world.plan.dir, name), data, 0o600)
		}
		if err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
	}
	return nil
}

// counts is how much was broken.
func (r *run) counts() string {
	t := r.world.tally
	return fmt.Sprintf("kills=%d broker_kills=%d redis=%d cuts=%d stops=%d",
		t.of("kills: "), t.of("broker kills"), t.of("redis: "), t.of("cuts: "), t.of("stops: "))
}

// lastLine is the run in one line. What went wrong with the run itself counts as one violation.
func (r *run) lastLine(err error) string {
	n, totals := r.violations(), ledger.Totals{}
	if r.report != nil {
		totals = r.report.Totals
	}
	if n == 0 && err != nil {
		n = 1
	}
	return fmt.Sprintf("chaos: %s events=%d sends=%d violations=%d", r.counts(), totals.Events, totals.Sent+totals.Unknown, n)
}
