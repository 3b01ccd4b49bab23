package log_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	kind "refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

func TestObjects(t *testing.T) {
	t.Run("Memory", func(t *testing.T) { testObjects(t, log.NewMemory()) })
	t.Run("JetStream", func(t *testing.T) {
		site := openJetStream(t)
		if err := site.Objects().Put(t.Context(), "a", nil); kind.Of(err) != kind.Unavailable {
			t.Errorf("put without a bucket: %v", err)
		}
		for range 2 { // again changes nothing
			if err := site.Prepare(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		testObjects(t, site)
	})
}

func testObjects(t *testing.T, site log.Site) {
	t.Helper()
	ctx, o := t.Context(), site.Objects()
	if _, err := o.Get(ctx, "1/prf.0/7/aa"); !errors.Is(err, log.ErrNotFound) {
		t.Errorf("get of nothing: %v", err)
	}
	if found, err := o.List(ctx, ""); err != nil || len(found) != 0 {
		t.Errorf("list of nothing: %v, %v", found, err)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), 100_000) // many messages
	for name, data := range map[string][]byte{"1/prf.0/7/aa": []byte("x"), "1/prf.0/7/bb": large, "1/prf.1/7/aa": {}} {
		if err := o.Put(ctx, name, data); err != nil {
			t.Fatal(err)
		}
		got, err := o.Get(ctx, name)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("get %s: %d bytes of %d, %v", name, len(got), len(data), err)
		}
	}
	if err := o.Put(ctx, "1/prf.0/7/aa", []byte("yy")); err != nil {
		t.Fatal(err)
	}
	if got, err := o.Get(ctx, "1/prf.0/7/aa"); err != nil || string(got) != "yy" {
		t.Errorf("after a second put: %q, %v", got, err)
	}
	found, err := o.List(ctx, "1/prf.0/")
	if err != nil || len(found) != 2 || found[0].Name != "1/prf.0/7/aa" || found[0].Size != 2 || found[1].Size != uint64(len(large)) {
		t.Fatalf("list: %v, %v", found, err)
	}
	if age := time.Since(found[1].Stored); age < 0 || age > time.Minute {
		t.Errorf("it was stored %s ago", age)
	}
	for range 2 {
		if err := o.Delete(ctx, "1/prf.0/7/bb"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.Get(ctx, "1/prf.0/7/bb"); !errors.Is(err, log.ErrNotFound) {
		t.Errorf("get of what was deleted: %v", err)
	}
	if err := o.Sweep(ctx, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, err := o.Get(ctx, "1/prf.0/7/aa"); err != nil || string(got) != "yy" {
		t.Errorf("after a sweep: %q, %v", got, err)
	}
	for _, name := range []string{"", "a b", "/a", "a/", "a*"} {
		if err := o.Put(ctx, name, nil); kind.Of(err) != kind.Invalid {
			t.Errorf("put %q: %v", name, err)
		}
	}
}

// "A crash at any point leaves only garbage that a later run deletes": also an upload that ended half-way.
func TestABrokenUploadIsSweptAndNoMarkersStay(t *testing.T) {
	site := openJetStream(t)
	if err := site.Prepare(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	const bucket = "$O.refrain-snapshots."
	if _, err := site.Publish(t.Context(), bucket+"C.half", []byte("chunk without an object")); err != nil {
		t.Fatal(err)
	}
	o := site.Objects()
	if err := o.Put(t.Context(), "whole", []byte("whole")); err != nil {
		t.Fatal(err)
	}
	messages := func() uint64 {
		u, err := site.Usage(t.Context(), bucket+"C.half")
		if err != nil {
			t.Fatal(err)
		}
		return u.Messages
	}
	if err := o.Sweep(t.Context(), time.Now().Add(-time.Hour)); err != nil || messages() != 3 {
		t.Fatalf("a sweep of what is older left %d messages, want 3; %v", messages(), err)
	}
	if err := o.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil || messages() != 2 {
		t.Errorf("a sweep left %d messages, want 2; %v", messages(), err)
	}
	if err := o.Delete(t.Context(), "whole"); err != nil || messages() != 0 {
		t.Errorf("%d messages are left after all was deleted, %v", messages(), err)
	}
}
