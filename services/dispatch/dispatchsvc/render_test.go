package dispatchsvc

import (
	"errors"
	"strings"
	"testing"

	"refrain.dev/pkg/clock"
)

func vars() map[string]any {
	return map[string]any{
		"event":  map[string]any{"total": 12.5, "items": []any{"tea", "cup"}, "name": "Ada"},
		"traits": map[string]any{"orders": int64(3)}, "action": "welcome", "customer": map[string]any{"id": "0a"},
		"unsubscribe_url": "http://x/u/t",
	}
}

func TestRender(t *testing.T) {
	big := "{% for a in event.items %}" + strings.Repeat("x", 200<<10) + "{% endfor %}"
	for source, want := range map[string]string{
		"":                    "",
		"Hi {{ event.name }}": "Hi Ada",
		"{{ event.total }} {{ traits.orders }} {{ action }}":      "12.5 3 welcome",
		"{% for i in event.items %}{{ i | upcase }} {% endfor %}": "TEA CUP ",
		"{% if traits.orders > 2 %}again{% endif %}":              "again",
		"{{ event.name | escape }} {{ unsubscribe_url }}":         "Ada http://x/u/t",
		"{% if traits.orders > 5 %}{% abort %}{% endif %}kept":    "kept",
	} {
		got, err := newRenderer(clock.Wall{}).text(t.Context(), source, vars())
		if err != nil || got != want {
			t.Errorf("%q = %q %v, want %q", source, got, err, want)
		}
	}
	for source, want := range map[string]error{
		"{% abort %}": errAbort,
		"{% if traits.orders > 2 %}{% abort %}{% endif %}": errAbort,
		"{{ nobody }}":                      errRender,
		"{{ event.missing }}":               errRender,
		"{{ event.name | nofilter }}":       errRender,
		"{% include 'etc/passwd' %}":        errRender,
		"{% nothing %}":                     errRender,
		"{{ event.name":                     nil,
		"{% for i in (1..9) %}{% endfor %}": errRender,
		"{% if %}":                          errRender,
		big:                                 errRender,
	} {
		_, err := newRenderer(clock.Wall{}).text(t.Context(), source, vars())
		if !errors.Is(err, want) {
			t.Errorf("%.60q: %v, want %v", source, err, want)
		}
	}
}

func TestSubjectIsOneLine(t *testing.T) {
	v := vars()
	v["event"] = map[string]any{"name": "Ada\r\nBcc: all@shop.example"}
	if got, err := newRenderer(clock.Wall{}).line(t.Context(), "Hi {{ event.name }}", v); !errors.Is(err, errRender) {
		t.Errorf("an injected header passed: %q %v", got, err)
	}
	if got, err := newRenderer(clock.Wall{}).line(t.Context(), "Hi\n", v); err != nil || got != "Hi" {
		t.Errorf("line = %q %v, want Hi", got, err)
	}
}

func FuzzRender(f *testing.F) {
	for _, s := range []string{"{{ event.name | upcase }}", "{% for i in event.items %}{{i}}{% endfor %}", "{% abort %}", "{{ 'a' | split: 'b' | join }}"} {
		f.Add(s)
	}
	r := newRenderer(clock.Wall{})
	f.Fuzz(func(t *testing.T, source string) {
		text, err := r.text(t.Context(), source, vars())
		if err != nil && !errors.Is(err, errRender) && !errors.Is(err, errAbort) {
			t.Errorf("%q: %v", source, err)
		}
		if len(text) > maxText {
			t.Errorf("%q: %d bytes", source, len(text))
		}
	})
}
