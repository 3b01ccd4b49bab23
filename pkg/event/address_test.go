package event_test

import (
	"encoding/json"
	"errors"
	"testing"

	"refrain.dev/pkg/event"
)

func TestAddressesThatAreOneHaveOneIdentity(t *testing.T) {
	kinds := event.DefaultKinds()
	for _, c := range []struct {
		kind string
		want string
		same []string
	}{
		{"email", "ann@shop.example", []string{
			"ann@shop.example", "Ann@Shop.EXAMPLE", " ann@shop.example\u00a0", "\u200bann@shop.example", "\ufeffann@shop.example\u200d",
			"ann@shop.example.", "\u202aann@shop.example\u202c", "\tann@shop.example\r\n",
		}},
		{"email", "ann@xn--mnchen-3ya.example", []string{
			"ann@münchen.example", "ann@MÜNCHEN.example", "ann@mu\u0308nchen.example", "ann@xn--mnchen-3ya.example", "ann@XN--MNCHEN-3YA.EXAMPLE", "ann@münchen。example",
		}},
		{"email", "zoë@shop.example", []string{"zoë@shop.example", "zoe\u0308@shop.example", "ZOË@shop.example", "ZOE\u0308@SHOP.example"}},
		{"user_id", "Zoë", []string{"Zoë", "Zoe\u0308", "\u00a0Zoë\u200b", "Zoë\u2060"}},
		{"phone", "+442079460000", []string{"+44 20 7946 0000", "+44\u00a020\u202f7946\u20110000", "\u202a+44 (20) 7946-0000\u202c"}},
	} {
		for _, value := range c.same {
			if got, err := kinds.Normalise(c.kind, value); err != nil || got != c.want {
				t.Errorf("%s %q: got %q, %v; want %q", c.kind, value, got, err, c.want)
			}
		}
	}
}

func TestCharactersThatCannotBeSeenAreRefusedInside(t *testing.T) {
	kinds := event.DefaultKinds()
	for _, hidden := range []string{"\u00a0", "\u200b", "\u200d", "\u2060", "\ufeff", "\u202f", "\u00ad", "\u034f", "\u180e", "\u2028", "\u3164", "\u202e", "\x00", "\u3000"} {
		for kind, value := range map[string]string{"user_id": "an" + hidden + "n", "email": "an" + hidden + "n@shop.example", "anonymous_id": "a" + hidden + "b"} {
			if got, err := kinds.Normalise(kind, value); err == nil {
				t.Errorf("%s %q: got %q", kind, value, got)
			}
		}
	}
	for _, value := range []string{"+44\u200b2079460000", "+44\u20602079460000"} {
		if got, err := kinds.Normalise("phone", value); err == nil {
			t.Errorf("phone %q: got %q", value, got)
		}
	}
	if got, err := kinds.Normalise("email", "ann@shop\u200b.example"); err == nil {
		t.Errorf("hidden in a domain: %q", got)
	}
	if got, err := kinds.Normalise("user_id", "ann b"); err != nil || got != "ann b" {
		t.Errorf("a plain blank: %q, %v", got, err)
	}
	if _, err := kinds.Normalise("user_id", "\u200b\u00a0"); !errors.Is(err, event.ErrBlocked) {
		t.Errorf("nothing to be seen: %v", err)
	}
}

func TestAnAddressIsWrittenToAsItWasPublished(t *testing.T) {
	kinds := event.DefaultKinds()
	for value, want := range map[string]string{
		"Ann.B@Shop.Example": "Ann.B@shop.example", " Ann@MÜNCHEN.example ": "Ann@xn--mnchen-3ya.example", "Zoe\u0308@shop.example": "Zoë@shop.example", "ann@shop.example": "",
	} {
		if got, err := kinds.Identifier("email", value); err != nil || got.GetWritten() != want {
			t.Errorf("%q: got %q, %v; want %q", value, got.GetWritten(), err, want)
		}
	}
}

func TestDomainsThatCannotBeAreRefused(t *testing.T) {
	for _, value := range []string{"a@b..c", "a@.b", "a@b..", "a@xn--a", "a@-", "a@.", "a@" + string(make([]byte, 70)), "a@ex ample", "a@\u2488com"} {
		if got, err := event.DefaultKinds().Normalise("email", value); err == nil && got != "a@-" {
			t.Errorf("%q: got %q", value, got)
		}
	}
	if _, err := event.DefaultKinds().Normalise("email", "a@my_host.example"); err != nil {
		t.Errorf("an underscore: %v", err)
	}
}

func TestANumberIsOneIdentifierHoweverItIsWritten(t *testing.T) {
	for text, want := range map[string]string{
		"12345": "12345", "12345.0": "12345", "12345.00": "12345", "1.2345e4": "12345", "1.2345E+4": "12345", "-0": "0", "12345.50": "12345.5", "0.5": "0.5",
		"12345678901234567890": "12345678901234567890", "12345678901234567890.0": "12345678901234567890", "9007199254740993": "9007199254740993", "1e400": "1e400",
	} {
		if got := event.NumberText(json.Number(text)); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	for want, values := range map[string][]any{"12345": {12345, 12345.0, json.Number("12345.0"), " 12345 "}, "": {nil, true, []any{}}} {
		for _, v := range values {
			value, err := event.FromAny(v)
			if err != nil {
				t.Fatal(err)
			}
			if got := event.IdentifierText(value); got != want {
				t.Errorf("%v: got %q, want %q", v, got, want)
			}
		}
	}
}
