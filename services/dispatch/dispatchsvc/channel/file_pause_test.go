package channel

import (
	"context"
	"testing"
	"time"
)

// A writer that was kept from the file, by another one or because its process stood still, must not write when
// its time is over: somebody may have looked the proposal up since, found nothing, and sent it.
func TestFileIsNotWrittenAfterTheTimeOfTheCall(t *testing.T) {
	o := local(t)
	config := map[string]string{"path": "f.jsonl"}
	held, kept := fileAdapter(t, o, config), fileAdapter(t, o, config)
	_, unlock, err := held.lock()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		isLater().check(t, kept.Send(ctx, message("late")))
	}()
	<-ctx.Done()
	unlock()
	<-sent
	r, err := held.LookUp(t.Context(), "late")
	if err != nil {
		t.Fatal(err)
	}
	isLater().check(t, r)
}
