package logtest

import (
	"strings"
	"testing"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

func appendAndExpect(t *testing.T, s suite) {
	b := provisioned(t, s)
	genesis := last(t, b, "prf.1").Sequence
	first := mustAppend(t, b, "prf.1", genesis, "a")
	second := mustAppend(t, b, "prf.1", first, "b")
	if second <= first || first <= genesis {
		t.Fatalf("sequences %d, %d, %d do not grow", genesis, first, second)
	}
	_, err := b.Append(t.Context(), "prf.1", first, []byte("c"))
	wantConflict(t, err, second)
	_, err = b.Append(t.Context(), "prf.1", second+100, []byte("c"))
	wantConflict(t, err, second)
	_, err = b.Append(t.Context(), "prf.1", 0, []byte("c"))
	wantErr(t, "append with expectation 0", err, log.ErrZeroExpectation)
	_, err = b.Append(t.Context(), "evt.live.1", 7, []byte("c"))
	wantConflict(t, err, 0)
	if got := last(t, b, "prf.1"); string(got.Data) != "b" || got.Sequence != second {
		t.Fatalf("last is %q at %d, want %q at %d", got.Data, got.Sequence, "b", second)
	}
}

func sharedSequences(t *testing.T, s suite) {
	b := provisioned(t, s)
	one := mustPublish(t, b, "evt.live.1", "a")
	three := mustPublish(t, b, "evt.live.3", "b") // partitions 1 and 3 share a stream
	zero := mustPublish(t, b, "evt.live.0", "c")
	if three != one+1 {
		t.Errorf("second message of the stream has sequence %d, want %d", three, one+1)
	}
	if zero != 1 {
		t.Errorf("first message of the other stream has sequence %d, want 1", zero)
	}
	if m := last(t, b, "evt.live.1"); m.Sequence != one {
		t.Errorf("last of evt.live.1 is %d, want %d", m.Sequence, one)
	}
}

func neverDeduped(t *testing.T, s suite) {
	b := provisioned(t, s)
	first := mustPublish(t, b, "evt.live.1", "same")
	if second := mustPublish(t, b, "evt.live.1", "same"); second != first+1 {
		t.Fatalf("repeat got sequence %d, want %d", second, first+1)
	}
	at := last(t, b, "act.1").Sequence
	next := mustAppend(t, b, "act.1", at, "same")
	_, err := b.Append(t.Context(), "act.1", at, []byte("same"))
	wantConflict(t, err, next)
}

func copied(t *testing.T, s suite) {
	b := provisioned(t, s)
	data := []byte("abc")
	if _, err := b.Publish(t.Context(), "evt.live.1", data); err != nil {
		t.Fatal(err)
	}
	data[0] = 'X'
	m := last(t, b, "evt.live.1")
	if string(m.Data) != "abc" {
		t.Fatalf("stored %q, want %q", m.Data, "abc")
	}
	m.Data[1] = 'Y'
	tail := feed(t, b, map[string]uint64{"evt.live.1": 0}).Tail("evt.live.1")
	got := take(t, tail)
	got.Data[2] = 'Z'
	if again := last(t, b, "evt.live.1"); string(got.Data) != "abZ" || string(again.Data) != "abc" {
		t.Fatalf("readers share memory: feed %q, last %q", got.Data, again.Data)
	}
}

func reading(t *testing.T, s suite) {
	b := provisioned(t, s)
	_, err := b.Last(t.Context(), "evt.live.1")
	wantErr(t, "last of an empty subject", err, log.ErrNotFound)
	if kind := fault.Of(err); kind != fault.NotFound {
		t.Errorf("kind is %s, want not_found", kind)
	}
	_, err = b.Next(t.Context(), "evt.live.1", 0)
	wantErr(t, "next of an empty subject", err, log.ErrNotFound)
	first := mustPublish(t, b, "evt.live.1", "a")
	other := mustPublish(t, b, "evt.live.3", "x")
	second := mustPublish(t, b, "evt.live.1", "b")
	for _, step := range []struct{ after, want uint64 }{{0, first}, {first, second}, {other, second}} {
		m, err := b.Next(t.Context(), "evt.live.1", step.after)
		if err != nil || m.Sequence != step.want {
			t.Errorf("next after %d is %d (%v), want %d", step.after, m.Sequence, err, step.want)
		}
	}
	_, err = b.Next(t.Context(), "evt.live.1", second)
	wantErr(t, "next after the last", err, log.ErrNotFound)
	m, err := b.Get(t.Context(), "evt.live.1", other)
	if err != nil || m.Subject != "evt.live.3" || string(m.Data) != "x" || m.Time.IsZero() {
		t.Errorf("get %d: %+v, %v", other, m, err)
	}
	_, err = b.Get(t.Context(), "evt.live.1", second+1)
	wantErr(t, "get beyond the end", err, log.ErrNotFound)
}

func purgeKeepsLast(t *testing.T, s suite) {
	b := provisioned(t, s)
	var at uint64
	other := mustPublish(t, b, "evt.bulk.1", "stays")
	for range 5 {
		at = mustPublish(t, b, "evt.live.1", "x")
	}
	if err := b.Purge(t.Context(), "evt.live.1", at+1); fault.Of(err) != fault.Invalid {
		t.Fatalf("purge of the last one: got %v, want it refused", err)
	}
	if err := b.Purge(t.Context(), "evt.live.1", at); err != nil {
		t.Fatalf("purge below %d: %v", at, err)
	}
	m, err := b.Next(t.Context(), "evt.live.1", 0)
	if err != nil || m.Sequence != at {
		t.Fatalf("first message left is %d (%v), want %d", m.Sequence, err, at)
	}
	if m := last(t, b, "evt.bulk.1"); m.Sequence != other {
		t.Fatalf("purge took messages of another subject")
	}
	genesis := last(t, b, "vdc.1").Sequence
	first := mustAppend(t, b, "vdc.1", genesis, "a")
	second := mustAppend(t, b, "vdc.1", first, "b")
	if err := b.Purge(t.Context(), "vdc.1", second); err != nil {
		t.Fatalf("purge a chain: %v", err)
	}
	mustAppend(t, b, "vdc.1", second, "c")
}

func fullStream(t *testing.T, s suite) {
	b := provisioned(t, s)
	empty, err := b.Usage(t.Context(), "evt.live.1")
	if err != nil || empty.Bytes != 0 || empty.Messages != 0 || empty.MaxBytes != maxBytes {
		t.Fatalf("usage of an empty stream: %+v, %v", empty, err)
	}
	data := strings.Repeat("x", maxBytes/16)
	stored := uint64(0)
	for err == nil && stored < 20 {
		if _, err = b.Publish(t.Context(), "evt.live.1", []byte(data)); err == nil {
			stored++
		}
	}
	wantErr(t, "publish on a full stream", err, log.ErrFull)
	u, err := b.Usage(t.Context(), "evt.live.3")
	if err != nil || u.Messages != stored || u.LastSequence != stored || u.Bytes < stored*maxBytes/16 || u.Bytes > maxBytes {
		t.Fatalf("usage after %d messages: %+v, %v", stored, u, err)
	}
	at := last(t, b, "snd.1").Sequence
	for err == nil {
		var next uint64
		if next, err = log.OpenChain(b, "snd.1", clock.Wall{}).Append(t.Context(), at, []byte(data)); err == nil {
			at = next
		}
	}
	wantErr(t, "append to a full stream", err, log.ErrFull)
	if got := last(t, b, "snd.1").Sequence; got != at {
		t.Fatalf("a refused append was stored: last is %d, want %d", got, at)
	}
}

// sideStream: what no reader reads back drops its oldest messages and is never full.
func sideStream(t *testing.T, s suite) {
	b := provisioned(t, s)
	u, err := b.Usage(t.Context(), "dcn.1")
	if err != nil || u.MaxBytes == 0 || u.MaxBytes > maxBytes {
		t.Fatalf("usage of an empty stream: %+v, %v", u, err)
	}
	data := make([]byte, u.MaxBytes/16)
	const published = 40
	for n := range published {
		if _, err := b.Publish(t.Context(), log.Subject("dcn", 1+n%2*2), data); err != nil {
			t.Fatalf("publish %d: %v", n, err)
		}
	}
	u, err = b.Usage(t.Context(), "dcn.3")
	if err != nil || u.Bytes > u.MaxBytes || u.LastSequence != published || u.Messages < 10 || u.Messages > 16 {
		t.Fatalf("usage after %d messages of a sixteenth: %+v, %v", published, u, err)
	}
	first, err := b.Next(t.Context(), "dcn.1", 0)
	if err != nil || first.Sequence < published-u.Messages {
		t.Fatalf("the first that is there: %d, %v", first.Sequence, err)
	}
	if got := last(t, b, "dcn.3").Sequence; got != published {
		t.Fatalf("the last that is there: got %d, want %d", got, published)
	}
	if _, err := b.Publish(t.Context(), "dlq.ingest.0", data); err != nil {
		t.Fatalf("publish what was refused: %v", err)
	}
	if u, err := b.Usage(t.Context(), "dlq.profile.0"); err != nil || u.Messages != 0 {
		t.Fatalf("what ingest refused stands with what the stages gave up: %+v, %v", u, err)
	}
}

func tooLarge(t *testing.T, s suite) {
	b := provisioned(t, s)
	if _, err := b.Publish(t.Context(), "evt.live.1", make([]byte, log.MaxMessage+1)); fault.Of(err) != fault.Invalid {
		t.Fatalf("got %v, want an error of kind invalid", err)
	}
}

func keyValue(t *testing.T, s suite) {
	kv := provisioned(t, s).KV()
	ctx := t.Context()
	_, _, err := kv.Get(ctx, "bundle/none")
	wantErr(t, "get of no key", err, log.ErrNotFound)
	if err := kv.Update(ctx, "bundle/b", []byte("1"), 0); err != nil {
		t.Fatalf("create: %v", err)
	}
	value, revision, err := kv.Get(ctx, "bundle/b")
	if err != nil || string(value) != "1" {
		t.Fatalf("get: %q, %v", value, err)
	}
	wantConflict(t, kv.Update(ctx, "bundle/b", []byte("x"), 0), revision)
	if err := kv.Update(ctx, "bundle/b", []byte("2"), revision); err != nil {
		t.Fatalf("update: %v", err)
	}
	if err := kv.Put(ctx, "bundle/a", []byte("")); err != nil {
		t.Fatalf("put: %v", err)
	}
	if err := kv.Put(ctx, "bundlex", []byte("3")); err != nil {
		t.Fatalf("put: %v", err)
	}
	keys, err := kv.Keys(ctx, "bundle/")
	if err != nil || strings.Join(keys, " ") != "bundle/a bundle/b" {
		t.Fatalf("keys: %v, %v", keys, err)
	}
	value, _, err = kv.Get(ctx, "bundle/b")
	if err != nil || string(value) != "2" {
		t.Fatalf("get: %q, %v, want 2", value, err)
	}
	if err := kv.Put(ctx, "bundle/big", make([]byte, 1<<20)); err != nil {
		t.Errorf("a value of 1 MiB: %v", err)
	}
	for key, value := range map[string][]byte{"": nil, "a b": nil, "a*": nil, "big": make([]byte, 1<<20+1)} {
		if err := kv.Put(ctx, key, value); fault.Of(err) != fault.Invalid {
			t.Errorf("put %q with %d bytes: got %v, want it refused", key, len(value), err)
		}
	}
}
