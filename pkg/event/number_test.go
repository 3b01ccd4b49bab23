package event_test

import (
	"fmt"
	"testing"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

// TestPropertiesBeyondTheBoundAreSetAside keeps the event and as many properties as it may have.
func TestPropertiesBeyondTheBoundAreSetAside(t *testing.T) {
	e := good()
	for i := range event.MaxProperties + 7 {
		e.Traits = append(e.Traits, &eventv1.Property{Name: fmt.Sprint(i), Value: event.Integer(int64(i))})
	}
	remarks := event.Mend(e)
	if len(remarks) != 1 || remarks[0].String() != "traits: are 507, more than 500; the last 7 were set aside" || len(e.GetTraits()) != event.MaxProperties {
		t.Errorf("%d traits, remarks %v", len(e.GetTraits()), remarks)
	}
	if problems := event.Validate(e); len(problems) > 0 {
		t.Errorf("problems %v", problems)
	}
}

// TestANumberHoldsWhatIsWritten tells the decimals that a double is from those that lose digits.
func TestANumberHoldsWhatIsWritten(t *testing.T) {
	for text, holds := range map[string]bool{
		"0": true, "0e999999999": true, "-0.00": true, "19.99": true, "1e3": true, "1000.0": true, "9007199254740992": true, "1e300": true,
		"1e-999": false, "9007199254740993": false, "42.0000000000000000001": false, "0.10000000000000001": false,
	} {
		n, why := event.NumberOf(event.Text(text))
		if event.Holds(text, n) != holds || (why == "") != holds {
			t.Errorf("%s is %v (%s), want that it holds: %v", text, n, why, holds)
		}
	}
}
