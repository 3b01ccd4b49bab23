package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"refrain.dev/pkg/fault"
)

// AnewError says that a stream is not the one that it was: it was deleted and made again, or is gone. What was
// acknowledged in it may be lost, and its sequences mean something else now, so whoever reads it halts. It is an
// ErrLogLostData.
type AnewError struct {
	// Stream is its name.
	Stream string
	// Was is when the stream was made that everybody knows, Is when the one was that is there; zero: there is none.
	Was, Is time.Time
}

// Error implements error.
func (e *AnewError) Error() string {
	if e.Is.IsZero() {
		return fmt.Sprintf("stream %s, made at %s, is gone", e.Stream, moment(e.Was))
	}
	return fmt.Sprintf("stream %s was made anew at %s, and what was acknowledged in the one made at %s may be lost; "+
		"if it was restored from a backup, record it with 'refrain provision --accept %s'", e.Stream, moment(e.Is), moment(e.Was), e.Stream)
}

// Unwrap makes it an ErrLogLostData.
func (e *AnewError) Unwrap() error { return ErrLogLostData }

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Anew compares the stream of a subject, as it is found now, with the one that was provisioned: nil, or an
// *AnewError. What is not known to the generation is not compared.
func (g Generation) Anew(subject string, found Usage) error {
	name := g.StreamOf(subject)
	was, known := g.Made[name]
	if !known || found.Made.Equal(was) {
		return nil
	}
	return &AnewError{Stream: name, Was: was, Is: found.Made}
}

// StreamOf names the stream that stores a subject; "" if none does.
func (g Generation) StreamOf(subject string) string {
	cut := strings.LastIndexByte(subject, '.')
	if cut < 0 || g.Streams <= 0 {
		return ""
	}
	partition, err := strconv.Atoi(subject[cut+1:])
	if err != nil {
		return ""
	}
	for _, f := range families() {
		if slices.Contains(f.prefixes, subject[:cut]) {
			return f.stream(g.Number, partition%g.Streams)
		}
	}
	return ""
}

// stream is the name of one of a family's streams.
func (f *family) stream(generation uint32, n int) string {
	return fmt.Sprintf("%s-g%d-%d", f.name, generation, n)
}

// identify notes when the streams were made.
func (p *provisioner) identify(ctx context.Context, e *generationEntry) error {
	made, err := p.found(ctx, e)
	if err != nil {
		return err
	}
	for name, at := range made {
		if at.IsZero() {
			return fault.New(fault.Conflict, "stream %s is gone while it is provisioned", name)
		}
	}
	e.Made = made
	return nil
}

// found is when the streams that are there were made, by name; zero for one that is not.
func (p *provisioner) found(ctx context.Context, e *generationEntry) (map[string]time.Time, error) {
	made := map[string]time.Time{}
	for _, c := range e.StreamConfigs(e.MaxBytes) {
		var got StreamConfig
		err := persist(ctx, func() (err error) {
			got, err = p.site.Stream(ctx, c.Name)
			return err
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, fmt.Errorf("read stream %s: %w", c.Name, err)
		}
		made[c.Name] = got.Made.UTC()
	}
	return made, nil
}

// compare says which streams of a generation that is ready are not those that were provisioned, after it has
// recorded those that are accepted, or all if none ever was.
func (p *provisioner) compare(ctx context.Context, e generationEntry, revision uint64) (Generation, error) {
	found, err := p.found(ctx, &e)
	if err != nil {
		return e.Generation, err
	}
	for _, name := range p.cfg.Accept {
		if _, ok := found[name]; !ok {
			return e.Generation, fault.New(fault.Invalid, "accept %s: the generation has no stream of that name", name)
		}
	}
	var errs []error
	record := maps.Clone(e.Made)
	if record == nil {
		record = map[string]time.Time{}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		was, known := e.Made[name]
		switch accepted := slices.Contains(p.cfg.Accept, name); {
		case known && found[name].Equal(was):
		case (accepted || !known) && !found[name].IsZero():
			record[name] = found[name]
		default:
			errs = append(errs, &AnewError{Stream: name, Was: was, Is: found[name]})
		}
	}
	if !maps.Equal(record, e.Made) {
		e.Made = record
		if _, err := p.swap(ctx, generationKey(e.Number), e, revision); err != nil {
			return e.Generation, err
		}
	}
	if err := errors.Join(errs...); err != nil {
		return e.Generation, fault.As(fault.Conflict, err)
	}
	return e.Generation, nil
}
