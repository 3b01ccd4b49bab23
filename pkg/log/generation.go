package log

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
)

const (
	generationPrefix = "generation/"
	stateReady       = "ready"
	stateMaking      = "provisioning"
	pollEvery        = 100 * time.Millisecond
)

// generationEntry is the value of generation/<n> in the KV store.
type generationEntry struct {
	Generation
	// State is ready, or provisioning while somebody makes the streams or has given up half-way.
	State string `json:"state"`
	// MaxBytes of every stream.
	MaxBytes int64 `json:"max_bytes"`
	// Attempt tells the tries to provision apart.
	Attempt string `json:"attempt"`
}

func generationKey(number uint32) string {
	return generationPrefix + strconv.FormatUint(uint64(number), 10)
}

// FindGeneration returns the newest generation that is ready, or ErrNotFound. It does not wait.
func FindGeneration(ctx context.Context, kv KV) (Generation, error) {
	keys, err := kv.Keys(ctx, generationPrefix)
	if err != nil {
		return Generation{}, fmt.Errorf("list generations: %w", err)
	}
	var newest Generation
	for _, key := range keys {
		number, err := strconv.ParseUint(strings.TrimPrefix(key, generationPrefix), 10, 32)
		if err != nil {
			continue
		}
		e, _, err := readGeneration(ctx, kv, uint32(number))
		if err != nil {
			return Generation{}, err
		}
		if e.State == stateReady && e.Number > newest.Number {
			newest = e.Generation
		}
	}
	if newest.Number == 0 {
		return Generation{}, fault.As(fault.NotFound, fmt.Errorf("find a generation that is ready: %w", ErrNotFound))
	}
	return newest, nil
}

// LoadGeneration returns the newest generation that is ready. While there is none, or the broker does not
// answer, it waits until ctx ends; the error then says what it was waiting for.
func LoadGeneration(ctx context.Context, kv KV) (Generation, error) {
	for {
		g, err := FindGeneration(ctx, kv)
		if err == nil {
			return g, nil
		}
		if werr := clock.Sleep(ctx, clock.Wall{}, pollEvery); werr != nil {
			return Generation{}, fmt.Errorf("wait for the provisioner: %w: %w", werr, err)
		}
	}
}

func readGeneration(ctx context.Context, kv KV, number uint32) (generationEntry, uint64, error) {
	value, revision, err := kv.Get(ctx, generationKey(number))
	if errors.Is(err, ErrNotFound) {
		return generationEntry{}, 0, nil
	}
	if err != nil {
		return generationEntry{}, 0, fmt.Errorf("read generation %d: %w", number, err)
	}
	var e generationEntry
	if err := json.Unmarshal(value, &e); err != nil {
		return generationEntry{}, 0, fault.New(fault.Internal, "decode generation %d: %w", number, err)
	}
	return e, revision, nil
}

// Assert compares the streams with what the generation wants and returns all differences in one error.
// It changes nothing.
func Assert(ctx context.Context, site Site, gen Generation) error {
	e, _, err := readGeneration(ctx, site.KV(), gen.Number)
	if err != nil {
		return err
	}
	if e.State != stateReady {
		return fault.New(fault.Unavailable, "generation %d is not ready", gen.Number)
	}
	errs := []error{sameGeneration(e.Generation, gen)}
	for _, want := range gen.StreamConfigs(e.MaxBytes) {
		got, err := site.Stream(ctx, want.Name)
		switch {
		case errors.Is(err, ErrNotFound):
			errs = append(errs, fmt.Errorf("stream %s: it is missing", want.Name))
		case err != nil:
			return fmt.Errorf("read stream %s: %w", want.Name, err)
		default:
			errs = append(errs, want.difference(got)...)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fault.New(fault.Invalid, "the streams are not as generation %d wants them: %w", gen.Number, err)
	}
	return nil
}

// sameGeneration says how want differs from what is stored.
func sameGeneration(stored, want Generation) error {
	var errs []error
	check := func(field string, stored, want any) {
		if stored != want {
			errs = append(errs, fmt.Errorf("%s is %v, want %v", field, stored, want))
		}
	}
	check("partitions", stored.Partitions, want.Partitions)
	check("streams", stored.Streams, want.Streams)
	check("replicas", stored.Replicas, want.Replicas)
	if !bytes.Equal(stored.Secret, want.Secret) {
		errs = append(errs, errors.New("the secret is another"))
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("generation %d is fixed since it was provisioned: %w", stored.Number, errors.Join(errs...))
}
