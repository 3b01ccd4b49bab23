package snapshot

import (
	"context"
	"errors"
	"testing"

	"refrain.dev/pkg/log"
)

// A position that is known stays known, whatever arrives late: the trimmer has relied on it.
func TestWhatIsRelayedNeverGoesBack(t *testing.T) {
	memory := log.NewMemory()
	kv := memory.KV()
	expect := func(when string, want uint64) {
		t.Helper()
		if got, _, err := Relayed(t.Context(), kv, "vdc.0"); err != nil || got != want {
			t.Errorf("%s: relayed up to %d, %v; want %d", when, got, err, want)
		}
	}
	save := func(sequence uint64) error {
		t.Helper()
		return SaveRelayed(t.Context(), kv, "vdc.0", sequence)
	}
	expect("at first", 0)
	for _, sequence := range []uint64{10, 20, 15} {
		if err := save(sequence); err != nil {
			t.Fatal(err)
		}
	}
	expect("after an owner that stood still", 20)
	memory.SetFaults(func(op log.Op) log.Fault {
		if op.Name != "kv.get" {
			return log.Fault{Effect: log.Late}
		}
		return log.Fault{}
	})
	if err := save(30); !errors.Is(err, log.ErrUnknown) {
		t.Fatalf("save = %v, want no answer", err)
	}
	memory.SetFaults(nil)
	expect("before it has arrived", 20)
	if err := save(40); err != nil {
		t.Fatal(err)
	}
	memory.Land()
	expect("after it has arrived late", 40)
}

// between is what happens between a call's question and its answer.
type between struct {
	log.KV
	once func()
}

func (kv *between) Update(ctx context.Context, key string, value []byte, revision uint64) error {
	if once := kv.once; once != nil {
		kv.once = nil
		once()
	}
	return kv.KV.Update(ctx, key, value, revision)
}

// A call that was given up arrives while the next one compares: that is no error, and the greater position stays.
func TestACallThatLandsInBetweenIsComparedAgain(t *testing.T) {
	for name, test := range map[string]struct{ late, saved, want uint64 }{
		"an older position": {late: 10, saved: 20, want: 20},
		"a newer one":       {late: 30, saved: 20, want: 30},
	} {
		t.Run(name, func(t *testing.T) {
			kv := log.NewMemory().KV()
			raced := &between{KV: kv, once: func() {
				if err := SaveRelayed(t.Context(), kv, "vdc.0", test.late); err != nil {
					t.Error(err)
				}
			}}
			if err := SaveRelayed(t.Context(), raced, "vdc.0", test.saved); err != nil {
				t.Error(err)
			}
			if got, _, err := Relayed(t.Context(), kv, "vdc.0"); err != nil || got != test.want {
				t.Errorf("relayed up to %d, %v; want %d", got, err, test.want)
			}
		})
	}
}
