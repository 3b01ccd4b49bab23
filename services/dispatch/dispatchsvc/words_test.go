package dispatchsvc

import (
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

func id(kind, value string) *eventv1.Identifier { return &eventv1.Identifier{Kind: kind, Value: value} }

// names makes failures readable.
func names(ids ...*eventv1.Identifier) (out []string) {
	for _, i := range ids {
		out = append(out, i.GetValue())
	}
	return out
}

func people() []*eventv1.Identifier {
	return []*eventv1.Identifier{
		id("user_id", "u1"), id("user_id", "u2"), id("email", "a@x.example"), id("email", "b@x.example"),
		id("anonymous_id", "d1"), id("anonymous_id", "d2"), id("anonymous_id", "d3"),
	}
}

// No send begins on a view that lacks an opt-out acknowledged before it was taken, under whatever identifier of
// the customer it came, while profiles are linked, letters wait, inputs are given up, and the store shows the past;
// and when everything has come, everybody may be contacted again or is closed.
func TestNoSendMissesAnOptOut(t *testing.T) {
	for range 6 {
		rapid.Check(t, func(t *rapid.T) {
			w := newTown(t, rapid.SampledFrom([]int{1, 3, 8}).Draw(t, "partitions"))
			for range rapid.IntRange(10, 120).Draw(t, "length") {
				w.happen()
			}
			w.settle()
			w.check()
		})
	}
}

// happen is one thing that happens in town.
func (w *town) happen() {
	t := w.t
	someone := rapid.SampledFrom(people())
	keys := w.profiles()
	switch what := rapid.IntRange(0, 11).Draw(t, "what"); {
	case what < 2:
		w.identify(rapid.SliceOfNDistinct(someone, 1, 3, (*eventv1.Identifier).GetValue).Draw(t, "who")...)
	case what == 2:
		w.optOut(someone.Draw(t, "who"))
	case what == 3 && len(keys) > 0: // by the link in a message, which names the profile
		w.optOut(id(event.KindProfile, rapid.SampledFrom(keys).Draw(t, "who")[len("default/c/"):]))
	case what == 4:
		w.now += time.Duration(rapid.IntRange(1, 40).Draw(t, "tenths")) * 100 * time.Millisecond
	case what < 7 && len(keys) > 0:
		w.send(rapid.SampledFrom(keys).Draw(t, "whom"))
	default:
		if in := w.inputs(); len(in) > 0 {
			in[rapid.IntRange(0, len(in)-1).Draw(t, "input")](rapid.IntRange(0, 7).Draw(t, "given up") == 7)
		}
	}
}

// settle lets everything come, after which everybody has a fresh view.
func (w *town) settle() {
	drain := func() {
		for in := w.inputs(); len(in) > 0; in = w.inputs() {
			in[0](false)
		}
	}
	drain()
	for _, key := range w.profiles() {
		fresh := false
		for tries := 0; tries < 20 && !fresh; tries++ {
			w.now += time.Second
			fresh = w.send(key)
			drain()
		}
		if !fresh {
			_, _, err := w.fresh.look(context.Background(), w.hasher.Partition(w.idOf(key)), key)
			w.t.Fatalf("everything has come, and %s has no fresh view: %v", key, err)
		}
	}
}
