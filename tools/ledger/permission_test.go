package ledger

import (
	"testing"
	"time"
)

// A batch may end in the middle of a record of the profile: what its last cells withdraw is not known to what is
// decided then.
func TestAWithdrawalIsKnownOnceItsCellIsCovered(t *testing.T) {
	const eve = "default/c/ee33"
	toEve := hello("p7")
	toEve.key = eve
	for name, c := range map[string]struct {
		cells  uint32
		broken bool
	}{
		"covered":         {2, true},
		"not yet covered": {1, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := goodWorld(t)
			w.visitor(eve, "Europe/London", consented(true, "email", "*", w.now))
			w.decide(suppression, 0)
			w.tick(time.Second)
			w.decide(profile, 0, is{key: ann, state: profileIn("Europe/London", 9)},
				is{key: eve, state: profileIn("Europe/London", 2), facts: []encoder{consented(false, "email", "*", w.now)}})
			w.decide(decision, 0, is{key: eve, state: []byte("basis")}).record.GetCovers()[0].Index = c.cells
			w.decide(suppression, 0, is{key: eve, state: []byte("basis")})
			w.tick(2 * time.Second)
			w.send(toEve)
			if broken := Verify(w.history()).Broken[ContactConsent] > 0; broken != c.broken {
				t.Errorf("the contact is against consent: %v, want %v", broken, c.broken)
			}
		})
	}
}
