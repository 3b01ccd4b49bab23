package snapshot

import (
	"errors"
	"slices"
	"strings"
	"testing"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"
)

// What is pinned is what the newest snapshot's rows and the records after it name, noted with the catalog that the
// chain was under, and again when something came free.
func TestPinsAreThoseOfTheStates(t *testing.T) {
	w := newWorld(t, Settings{})
	w.keeper.ports.Pinned = func(_ string, value []byte) ([]string, error) {
		switch v := string(value); {
		case v == "bad":
			return nil, errors.New("cannot be read")
		case strings.HasPrefix(v, "r"):
			return []string{v}, nil
		}
		return nil, nil
	}
	under := func(order uint64) {
		t.Helper()
		w.append(&stagev1.Record{Generation: 1, Prev: w.last, Revision: "r9", RevisionOrder: order})
	}
	pins := func(order uint64, want ...string) {
		t.Helper()
		if err := w.keeper.pin(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		got, err := w.keeper.library.Pins(t.Context(), chain)
		if err != nil || got.Order != order || !slices.Equal(got.Revisions, want) {
			t.Errorf("got %+v, %v, want %v under %d", got, err, want, order)
		}
	}
	pins(0)
	w.record(row("ann", "r1"), row("bob", "r2"), row("eve", "nothing"), row("dan", "r9"))
	w.build()
	w.record(row("ann", "x"), row("cid", "r3"))
	under(4)
	pins(4, "r1", "r2", "r3") // ann's may have been free only since
	w.build()
	pins(4, "r2", "r3")
	under(5)
	pins(5, "r2", "r3")
	w.record(row("bob", "bad"))
	if err := w.keeper.pin(t.Context(), 0); err == nil {
		t.Error("a row that cannot be read pins nothing")
	}
	w.record(row("bob", "x"), row("cid", "x"))
	under(5)
	w.build()
	pins(5)
}
