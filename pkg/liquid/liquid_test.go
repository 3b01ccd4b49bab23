package liquid_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"refrain.dev/pkg/liquid"
)

func render(source string, vars map[string]any) (string, error) {
	t, err := liquid.Parse(source, nil)
	if err != nil {
		return "", err
	}
	return t.Render(vars, liquid.At{Now: time.Date(2026, 3, 14, 9, 5, 7, 0, time.UTC)})
}

func TestNumbersPrintAsAPersonWritesThem(t *testing.T) {
	for source, want := range map[string]string{
		"{{ 1250000.5 }}":               "1250000.5",
		"{{ 3000000 }}":                 "3000000",
		"{{ 0.00005 }}":                 "0.00005",
		"{{ n | plus: 1 }}":             "3000001",
		"{{ n | times: 2 | minus: 1 }}": "5999999",
		"{{ 7 | divided_by: 2 }}":       "3",
		"{{ -7 | divided_by: 2 }}":      "-4",
		"{{ -7 | modulo: 2 }}":          "1",
		"{{ '3' | plus: 4 }}":           "7",
		"{{ 0.1 | plus: 0.2 }}":         "0.3",
		"{{ 19.99 | times: 3 }}":        "59.97",
		"{{ 2.5 | round }} {{ -2.5 | round }} {{ 1.005 | round: 2 }} {{ 1234 | round: -2 }}": "3 -3 1.01 1200",
		"{{ big | plus: 1 }}": "9223372036854776000.0",
		"{{ d }} {{ d | plus: 1 }} {{ d | divided_by: 2 }} {{ d | times: 0.1 | round: 1 }} {{ d | slice: 0 }}": "15 16 7.5 1.5 1",
		"{% for i in (1..3) limit: two %}{{ i }}{% endfor %}{% if d == 15 %}!{% endif %}{{ l | sum }}":         "12!15.5",
		"{{ tiny }}": "0.00000000001",
	} {
		got, err := render(source, map[string]any{"n": 3000000, "big": int64(1<<63 - 1), "tiny": 1e-11, "d": liquid.Decimal(15), "two": liquid.Decimal(2), "l": []any{liquid.Decimal(15), 0.5}})
		if err != nil || got != want {
			t.Errorf("%s = %q %v, want %q", source, got, err, want)
		}
	}
	for _, source := range []string{"{{ 1 | divided_by: 0 }}", "{{ 1 | modulo: 0.0 }}", "{{ f | times: f }}"} {
		if got, err := render(source, map[string]any{"f": 1e300}); !errors.Is(err, liquid.ErrRender) {
			t.Errorf("%s = %q %v, want an error", source, got, err)
		}
	}
}

func TestTextIsCountedInCharacters(t *testing.T) {
	for source, want := range map[string]string{
		"{{ s | size }} {{ s.size }}":               "6 6",
		"{{ s | truncate: 5, '…' }}":                "Zoë …",
		"{{ s | slice: 2, 3 }}|{{ s | slice: -1 }}": "ë Ö|l",
		"{{ 'élan VITAL' | capitalize }}":           "Élan vital",
		"{{ 'straße' | upcase }}":                   "STRASSE",
		"{{ '測試一下' | truncate: 3, '' }}":            "測試一",
		"{{ '測試' | split: '' | join: '-' }}":        "測-試",
		"{{ s | first }}{{ s.last }}":               "Zl",
	} {
		got, err := render(source, map[string]any{"s": "Zoë Öl"})
		if err != nil || got != want {
			t.Errorf("%s = %q %v, want %q", source, got, err, want)
		}
	}
}

func TestDates(t *testing.T) {
	for source, want := range map[string]string{
		"[{{ nothing | date: '%d %B %Y' }}]":                       "[]",
		"[{{ '' | date: '%d %B %Y' }}]":                            "[]",
		"{{ 'soon' | date: '%Y' }}":                                "soon",
		"{{ 0 | date: '%d %B %Y' }}":                               "01 January 1970",
		"{{ 1152098955 | date: '%Y-%m-%d %H:%M:%S %z' }}":          "2006-07-05 11:29:15 +0000",
		"{{ '1152098955' | date: '%e.%-m.%y, %l %P' }}":            " 5.7.06, 11 am",
		"{{ '2026-02-09T18:04:05.5Z' | date: '%j %L %p %^a %A' }}": "040 500 PM MON Monday",
		"{{ '2026-02-09T18:04:05+02:00' | date: '%H:%M %:z' }}":    "18:04 +02:00",
		"{{ '2026-02-09' | date: '%s %u %V' }}":                    "1770595200 1 07",
		"{{ 'March 14, 2016' | date: '%b %d, %y' }}":               "Mar 14, 16",
		"{{ 'Tue, 3 Mar 2026 10:00:00 +0100' | date: '%F %T' }}":   "2026-03-03 10:00:00",
		"{{ 'now' | date: '%Y-%m-%d %I:%M %p' }}":                  "2026-03-14 09:05 AM",
		"{{ t | date: '%d/%m %R%%' }}":                             "01/02 03:04%",
		"{{ t | date: '%Q' }}":                                     "%Q",
		"{{ t | date: nothing }}":                                  "2026-02-01 03:04:00 +0000",
	} {
		got, err := render(source, map[string]any{"t": time.Date(2026, 2, 1, 3, 4, 0, 0, time.UTC)})
		if err != nil || got != want {
			t.Errorf("%s = %q %v, want %q", source, got, err, want)
		}
	}
	zone, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		t.Fatal(err)
	}
	vienna, err := liquid.Parse("{{ 0 | date: '%R %Z' }} {{ '2026-07-01 10:00' | date: '%R %z' }}", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := vienna.Render(nil, liquid.At{Zone: zone}); err != nil || got != "01:00 CET 10:00 +0200" {
		t.Errorf("in Vienna = %q %v", got, err)
	}
}

func TestProseIsText(t *testing.T) {
	for source, want := range map[string]string{
		"save (10..20 %) now, } { % }} %}":                     "save (10..20 %) now, } { % }} %}",
		"{% for x in empty_list %}a{% else %}none{% endfor %}": "none",
		"{% for x in nothing %}a{% else %}none{% endfor %}":    "none",
		"{% if nothing %}a{% else %}b{% endif %}":              "b",
		"[{{ nothing }}{{ nothing.at.all }}]":                  "[]",
		"{{ nothing | default: 'friend' }}":                    "friend",
	} {
		got, err := render(source, map[string]any{"empty_list": []any{}})
		if err != nil || got != want {
			t.Errorf("%s = %q %v, want %q", source, got, err, want)
		}
	}
}

func TestMistakesAreFoundWhenParsedAndHaveAPlace(t *testing.T) {
	for source, want := range map[string]string{
		"Hi\n{{ name":                        "line 2:1: {{ is not closed with }}",
		"Hi {% if a %}":                      "line 1:4: if is not closed with endif",
		"ä {{ a | upcas }}":                  "line 1:10: there is no filter upcas; did you mean upcase?",
		"{{ a | append }}":                   "line 1:8: the filter append takes 1 argument, and 0 are given",
		"{{ a | upcase: 1 }}":                "line 1:8: the filter upcase takes no argument, and 1 are given",
		"{{ a | default: 1, allow: true }}":  "line 1:20: the filter default has no argument called allow",
		"{% iff a %}":                        "line 1:1: there is no tag iff",
		"{% endif %}":                        "line 1:1: endif closes nothing that is open here",
		"{% else %}":                         "line 1:1: else stands outside of the block that it belongs to",
		"{% if %}x{% endif %}":               "line 1:7: the end is not expected here; a value is",
		"{% if a = 1 %}x{% endif %}":         "line 1:9: = is not expected here; the end is",
		"{% if a && b %}x{% endif %}":        "line 1:9: '&' is not expected here",
		"{% include 'x' %}":                  "line 1:1: include is not allowed: a template stands for itself",
		"{{ 'a }}":                           "line 1:4: a text is not closed with '",
		"{% for x of y %}{% endfor %}":       "line 1:10: of is not expected here; in is",
		"{% for x in y by: 3 %}{% endfor %}": "line 1:15: a loop has no by; it has limit and offset",
		"{% assign a b %}":                   "line 1:1: assign is written: assign name = value",
		strings.Repeat("{% if a %}", 200):    "",
		"{{ " + strings.Repeat("a[", 200):    "",
		"{{ " + strings.Repeat("a[", 200) + "1" + strings.Repeat("]", 200) + " }}": "",
	} {
		_, err := render(source, nil)
		if !errors.Is(err, liquid.ErrSyntax) || (want != "" && err.Error() != want) {
			t.Errorf("%.60s: %v, want %s", source, err, want)
		}
	}
}

func TestErrorsNeverQuoteData(t *testing.T) {
	secret := map[string]any{"s": "secret", "l": []any{"secret"}, "m": map[string]any{"k": "secret"}}
	for _, source := range []string{
		"{% if s > 1 %}{% endif %}", "{{ s | slice: s }}", "{{ s | truncate: s }}", "{{ s | base64_decode }}", "{{ l | map: 1 }}",
		"{{ l | concat: s }}", "{% for i in l limit: s %}{% endfor %}", "{% for i in (m..s) %}{% endfor %}",
	} {
		_, err := render(source, secret)
		if !errors.Is(err, liquid.ErrRender) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestAbort(t *testing.T) {
	for source, want := range map[string]string{
		"a{% abort %}b":          "line 1:2: the template asked to abort",
		"{% abort 'no items' %}": "line 1:1: no items",
		"{% for i in (1..3) %}{% if i == 2 %}{% abort %}{% endif %}{% endfor %}": "line 1:37: the template asked to abort",
	} {
		if got, err := render(source, nil); !errors.Is(err, liquid.ErrAbort) || err.Error() != want {
			t.Errorf("%s = %q %v, want %s", source, got, err, want)
		}
	}
	if got, err := render("{% if a %}{% abort %}{% endif %}sent", nil); err != nil || got != "sent" {
		t.Errorf("an abort that was not reached: %q %v", got, err)
	}
}

// Each of these would take minutes or gigabytes without limits.
func TestRenderingIsBounded(t *testing.T) {
	loops := strings.Repeat("{% for a in (1..1000) %}", 5) + "x" + strings.Repeat("{% endfor %}", 5)
	grow := "{% assign s = 'xxxxxxxxxx' %}{% for i in (1..100) %}%s{% endfor %}{{ s | size }}"
	for _, source := range []string{
		loops,
		strings.Replace(loops, "x", "", 1),
		"{% for i in (1..9000000000000000000) %}{% endfor %}",
		"{% for i in (-9223372036854775807..9223372036854775807) limit: 9000000000000000000 %}{% endfor %}",
		"{{ (1..900000000) | join }}",
		"{{ (1..900000000) | size }}{{ (1..900000000) | reverse | first }}",
		strings.Replace(grow, "%s", "{% assign s = s | replace: 'x', s %}", 1),
		strings.Replace(grow, "%s", "{% assign s = s | replace: '', s %}", 1),
		strings.Replace(grow, "%s", "{% assign s = s | append: s %}", 1),
		strings.Replace(grow, "%s", "{% capture s %}{{ s }}{{ s }}{% endcapture %}", 1),
		"{% assign l = 'a,b' | split: ',' %}{% for i in (1..60) %}{% assign l = l | concat: l %}{% endfor %}",
		"{% assign l = 'a,b' | split: ',' %}{% for i in (1..60) %}{% assign l = l | concat: l %}{{ l }}{% endfor %}",
		"{% tablerow i in (1..900000000) %}{% endtablerow %}",
		"{% for i in (1..100000) %}{% if s contains 'y' %}{% endif %}{% endfor %}",
		"{% for i in (1..100000) %}{% assign a = s | strip_html %}{% endfor %}",
		"{% for i in (1..100000) %}{% assign a = l | sort %}{% endfor %}",
		"{% for i in (1..100000) %}{% assign a = l | uniq %}{% endfor %}",
		"{% for i in (1..100000) %}{% if l == l %}{% endif %}{% endfor %}",
		"{{ 'x' | date: '%999999999d' }}{{ 0 | date: '%999999999d' }}",
	} {
		vars := map[string]any{"s": strings.Repeat("<x ", 1<<14), "l": longList()}
		if got, err := render(source, vars); !errors.Is(err, liquid.ErrLimit) && !errors.Is(err, liquid.ErrRender) {
			t.Errorf("%.80s: %d bytes, %v", source, len(got), err)
		}
	}
}

func longList() []any {
	l := make([]any, 1000)
	for i := range l {
		l[i] = 1000 - i
	}
	return l
}

func TestUses(t *testing.T) {
	tmpl, err := liquid.Parse(`{% assign x = event.total | plus: 1 %}{{ x }}
{% for i in event.items %}{{ i.name }}{{ forloop.index }}{% endfor %}
{{ traits.name | default: traits.nick }}{{ event["a b"][x].c }}{{ [x] }}{{ event }}{{ event.items[0].name }}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []liquid.Use{
		{Path: []string{"event", "total"}, Line: 1, Column: 15},
		{Path: []string{"event", "items"}, Line: 2, Column: 13},
		{Path: []string{"traits", "name"}, Guarded: true, Line: 3, Column: 4},
		{Path: []string{"traits", "nick"}, Line: 3, Column: 27},
		{Path: []string{"event", "a b"}, Whole: true, Line: 3, Column: 44},
		{Whole: true, Line: 3, Column: 67},
		{Path: []string{"event"}, Whole: true, Line: 3, Column: 76},
		{Path: []string{"event", "items"}, Whole: true, Line: 3, Column: 87},
	}
	if got := tmpl.Uses(); !reflect.DeepEqual(got, want) {
		t.Errorf("uses\n%+v, want\n%+v", got, want)
	}
}

func TestATemplateIsNotChangedByRendering(t *testing.T) {
	tmpl, err := liquid.Parse("{% increment n %}{% assign a = 1 %}{{ a }}{% cycle 'x', 'y' %}{{ l | reverse | join }}", nil)
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]any{"n": 5, "l": []any{1, 2}}
	for range 2 {
		if got, err := tmpl.Render(vars, liquid.At{}); err != nil || got != "51x2 1" {
			t.Errorf("got %q %v", got, err)
		}
	}
	if fmt.Sprint(vars) != "map[l:[1 2] n:5]" {
		t.Errorf("the variables were changed: %v", vars)
	}
}

func FuzzLiquid(f *testing.F) {
	for _, s := range []string{
		"{{ a.b | upcase }}", "{% for i in l %}{{ i }}{% endfor %}", "{% liquid\nassign x = 1\necho x\n%}", "{%- raw -%}{{{% endraw %}",
		"{% case a %}{% when 1, 2 or 3 %}x{% else %}{% endcase %}", "{{ 's' | date: '%^10a' | slice: -1, 3 | split: '' | sort | uniq | sum }}",
		"{% tablerow i in (1..3) cols: 2 %}{{ i }}{% endtablerow %}", "{% comment %}{% raw %}{% endraw %}{% endcomment %}{% doc %}{% enddoc %}",
	} {
		f.Add(s)
	}
	vars := map[string]any{"a": map[string]any{"b": "x"}, "l": []any{1, 2.5, "z", nil}, "s": "text"}
	f.Fuzz(func(t *testing.T, source string) {
		tmpl, err := liquid.Parse(source, nil)
		if err != nil {
			if !errors.Is(err, liquid.ErrSyntax) {
				t.Fatalf("%q: %v", source, err)
			}
			return
		}
		tmpl.Uses()
		limits := liquid.Limits{Steps: 20_000, Output: 1 << 12, Memory: 1 << 16}
		one, err := tmpl.Render(vars, liquid.At{Limits: limits})
		two, again := tmpl.Render(vars, liquid.At{Limits: limits})
		if one != two || (err == nil) != (again == nil) || len(one) > limits.Output {
			t.Errorf("%q: %q %v, then %q %v", source, one, err, two, again)
		}
	})
}
