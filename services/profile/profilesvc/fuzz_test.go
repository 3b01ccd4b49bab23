package profilesvc

import (
	"testing"

	"refrain.dev/pkg/stage"
)

// Whatever stands in a lane or a mailbox, the fold answers or refuses; it never panics, and an input that
// Needs understood is never refused for its form.
func FuzzFold(f *testing.F) {
	for _, e := range []interface{ MarshalVT() ([]byte, error) }{
		track("t", 0, user("u"), anon("d")), identify("i", 1, email("a@x.example")), direct(make([]byte, 16)),
	} {
		raw, err := e.MarshalVT()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, false)
	}
	seed := newMesh(f, 2)
	seed.held = true
	seed.publish(identify("i", 0, user("u"), anon("d"), email("a@x.example")))
	for _, box := range seed.boxes {
		for _, a := range box {
			f.Add(a.Payload, true)
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte, boxed bool) {
		m := newMesh(t, 2)
		in := stage.Input{Source: stage.FromLane, Payload: payload, ReceivedAt: start}
		if boxed {
			in.Source = stage.FromBox
		}
		n, err := m.fold.Needs(in, start)
		if err != nil {
			return
		}
		_, _ = m.fold.Decide(in, view{m, 0, n}, stage.Env{Now: start})
		m.fold.Gap(in, view{m, 0, n}, stage.Env{Now: start}, "dl")
	})
}
