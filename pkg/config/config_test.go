package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"refrain.dev/pkg/config"
)

type common struct {
	NATS string `yaml:"nats" help:"address of NATS"`
}

type service struct {
	HTTP struct {
		Address     string          `yaml:"address"`
		ReadTimeout config.Duration `yaml:"read_timeout"`
		Limit       config.Bytes    `yaml:"limit"`
	} `yaml:"http"`
	Token config.Secret            `yaml:"token"`
	Keys  map[string]config.Secret `yaml:"keys"`
	Tags  []string                 `yaml:"tags"`
	On    bool                     `yaml:"on"`
	Count int                      `yaml:"count"`
}

func (s service) Validate() error { return nil }

type whole struct {
	Common  common  `yaml:",inline"`
	Service service `yaml:",inline"`
}

func (w whole) Validate() error {
	if w.Service.Count < 0 {
		return errors.New("count: is negative")
	}
	return nil
}

func TestLaterSourcesWin(t *testing.T) {
	w := whole{}
	w.Service.HTTP.Address = "default"
	err := config.Load(&w, config.Source{
		Service: "in-gest",
		Args:    []string{"--config", "f.yaml", "--http-read-timeout=3s", "--on", "--tags", "a, b"},
		Env:     []string{"REFRAIN_IN_GEST_NATS=nats://e", "REFRAIN_IN_GEST_HTTP_READ_TIMEOUT=2s", "REFRAIN_IN_GEST_KEYS=k=v,l=w", "OTHER=1"},
		ReadFile: func(string) ([]byte, error) {
			return []byte("nats: nats://f\nhttp: {read_timeout: 1s, limit: 4MiB}\ntoken: hush\ncount: 7\n"), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := whole{Common: common{NATS: "nats://e"}}
	want.Service.HTTP.Address = "default"
	want.Service.HTTP.ReadTimeout = config.Duration(3 * time.Second)
	want.Service.HTTP.Limit = 4 << 20
	want.Service.Token = "hush"
	want.Service.Keys = map[string]config.Secret{"k": "v", "l": "w"}
	want.Service.Tags, want.Service.On, want.Service.Count = []string{"a", "b"}, true, 7
	if diff := cmp.Diff(want, w); diff != "" {
		t.Fatalf("settings (-want +got):\n%s", diff)
	}
}

func TestErrorsNameTheSetting(t *testing.T) {
	for name, c := range map[string]struct {
		args, env []string
		file      string
		want      []string
	}{
		"all of the environment at once": {env: []string{"REFRAIN_X_COUNT=one", "REFRAIN_X_HTTP_LIMIT=-4", "REFRAIN_X_TYPO=1"},
			want: []string{"REFRAIN_X_COUNT", "REFRAIN_X_HTTP_LIMIT", "REFRAIN_X_TYPO: no such setting"}},
		"flag value":   {args: []string{"--http-read-timeout", "soon"}, want: []string{"--http-read-timeout", "not a duration"}},
		"unknown flag": {args: []string{"--nope"}, want: []string{"unknown flag -nope (x --help lists them)"}},
		"unknown key":  {args: []string{"--config", "f"}, file: "nope: 1\n", want: []string{"nope"}},
		"validation":   {args: []string{"--count", "-1"}, want: []string{"count: is negative"}},
		"a word":       {args: []string{"serve"}, want: []string{`"serve"`}},
	} {
		t.Run(name, func(t *testing.T) {
			err := config.Load(&whole{}, config.Source{Service: "x", Args: c.args, Env: c.env,
				ReadFile: func(string) ([]byte, error) { return []byte(c.file), nil }})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	s := config.Secret("hush")
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "s", s)
	j, err := json.Marshal(map[string]config.Secret{"s": s})
	if err != nil {
		t.Fatal(err)
	}
	y, _ := yaml.Marshal(map[string]any{"s": s})
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %q %x %d", s, s, s, s, s, s), log.String(), string(j), string(y)} {
		if strings.Contains(text, "hush") || strings.Contains(text, "68757368") {
			t.Errorf("the secret shows in %q", text)
		}
	}
	if s.Reveal() != "hush" {
		t.Error("Reveal does not")
	}
}

func TestBytesReadWhatTheyWrite(t *testing.T) {
	for _, b := range []config.Bytes{0, 1, 1000, 1024, 3 << 20, 5 << 30} {
		var got config.Bytes
		text, _ := b.MarshalText()
		if err := got.UnmarshalText(text); err != nil || got != b {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
}

func TestUsageNamesEverySetting(t *testing.T) {
	var out strings.Builder
	err := config.Load(&whole{}, config.Source{Service: "x", Args: []string{"-h"}, Output: &out})
	if !errors.Is(err, config.ErrHelp) || !strings.Contains(out.String(), "-http-read-timeout") || !strings.Contains(out.String(), "address of NATS") {
		t.Fatalf("got %v and %s", err, out.String())
	}
}
