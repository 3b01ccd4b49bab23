package archtest

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestRepositoryKeepsTheRules(t *testing.T) {
	violations, err := Check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Error(v)
	}
}

// Every rule is broken once: a check that finds nothing proves nothing.
func TestEachRuleIsEnforced(t *testing.T) {
	for name, c := range map[string]struct {
		file, text, want string
	}{
		"core reads the world": {"pkg/journey/a.go", `package journey; import "net/http"`, "R1: a core package imports net/http"},
		"core logs":            {"pkg/journey/a.go", `package journey; import "log/slog"`, "imports log/slog"},
		"core has a context":   {"pkg/journey/a.go", `package journey; import "context"`, "imports context"},
		"core reads files":     {"pkg/journey/a.go", `package journey; import "os"`, "imports os"},
		"core speaks NATS":     {"pkg/journey/a.go", `package journey; import "github.com/nats-io/nats.go"`, "imports github.com/nats-io"},
		"core speaks gRPC":     {"pkg/journey/a.go", `package journey; import "google.golang.org/grpc"`, "imports google.golang.org/grpc"},
		"core draws a key":     {"pkg/journey/a.go", `package journey; import "crypto/rand"`, "imports crypto/rand"},
		"core draws a number":  {"pkg/journey/a.go", `package journey; import "math/rand/v2"; var x = rand.IntN(3)`, "rand.IntN"},
		"core looks at the clock": {
			"pkg/journey/a.go", `package journey; import t "time"; var x = t.Now()`, "time.Now",
		},
		"fault is as pure as core": {"pkg/fault/a.go", `package fault; import "context"`, "imports context"},
		"fault imports core":       {"pkg/fault/a.go", `package fault; import "refrain.dev/pkg/event"`, "R3: what core and plumbing share"},
		"core imports plumbing":    {"pkg/journey/a.go", `package journey; import "refrain.dev/pkg/state"`, "R1: core imports core"},
		"core below a core package imports a service": {
			"pkg/journey/deep/a.go", `package deep; import "refrain.dev/services/ingest/ingestsvc"`, "R1: core imports core",
		},
		"plumbing imports core":      {"pkg/state/a.go", `package state; import "refrain.dev/pkg/event"`, "R3: plumbing imports no core"},
		"plumbing imports a service": {"pkg/run/a.go", `package run; import "refrain.dev/services/ingest/ingestsvc"`, "R3: plumbing imports no core"},
		"proof imports a service":    {"pkg/simulate/a.go", `package simulate; import "refrain.dev/services/ingest/ingestsvc"`, "R3: a library"},
		"service imports a service": {
			"services/ingest/ingestsvc/a.go", `package ingestsvc; import "refrain.dev/services/profile/profilesvc"`, "R4: no service imports another",
		},
		"a service's test imports a service": {
			"services/ingest/ingestsvc/a_test.go", `package ingestsvc; import "refrain.dev/services/profile/profilesvc"`, "R4: no service imports another",
		},
		"service imports the mesh": {"services/ingest/ingestsvc/a.go", `package ingestsvc; import "refrain.dev/services/mesh/meshsvc"`, "R4: no service imports the mesh"},
		"mesh imports a tool":      {"services/mesh/meshsvc/a.go", `package meshsvc; import "refrain.dev/tools/retail"`, "R4: services import no tools"},
		"the ledger imports core":  {"tools/ledger/a.go", `package ledger; import "refrain.dev/pkg/contact"`, "the ledger shares no code"},
		"the ledger imports stage": {"tools/ledger/a.go", `package ledger; import "refrain.dev/pkg/stage"`, "the ledger shares no code"},
		"contracts import code":    {"proto/a.go", `package proto; import "refrain.dev/pkg/fault"`, "contracts import contracts only"},
		"environment":              {"pkg/state/a.go", `package state; import "os"; var x = os.Getenv("X")`, "R6: only main packages and pkg/run use os.Getenv"},
		"exit":                     {"services/ingest/ingestsvc/a.go", `package ingestsvc; import "os"; func f() { os.Exit(1) }`, "os.Exit"},
		"flags":                    {"pkg/config/a.go", `package config; import "flag"; func f() { flag.Parse() }`, "flag.Parse"},
		"signals":                  {"pkg/embed/a.go", `package embed; import "os/signal"; func f() { signal.Ignore() }`, "signal.Ignore"},
		"init":                     {"pkg/state/a.go", `package state; func init() {}`, "R6: no init"},
		"init in main":             {"services/ingest/main.go", `package main; func init() {}`, "R6: no init"},
		"a name that says nothing": {"tools/x/util/a.go", `package util`, "R7:"},
		"a dot import":             {"tools/x/a.go", `package x; import . "fmt"`, "R7: a dot import"},
		"a package without a class": {
			"pkg/surprise/a.go", `package surprise`, "R1: pkg/surprise is in no class",
		},
		"test helpers in the product": {
			"pkg/run/a.go", `package run; import "refrain.dev/pkg/state/statetest"`, "pkg/state/statetest is for tests only",
		},
	} {
		t.Run(name, func(t *testing.T) {
			violations, err := Check(fstest.MapFS{c.file: {Data: []byte(c.text)}})
			if err != nil {
				t.Fatal(err)
			}
			if len(violations) != 1 || !strings.Contains(violations[0].String(), c.want) || !strings.HasPrefix(violations[0].String(), c.file+":1: ") {
				t.Errorf("got %v, want one violation in %s with %q", violations, c.file, c.want)
			}
		})
	}
}

func TestWhatIsAllowed(t *testing.T) {
	for file, text := range map[string]string{
		"pkg/journey/a.go":               `package journey; import ("io/fs"; "math/rand/v2"; "time"; "refrain.dev/pkg/window"; "refrain.dev/pkg/fault"; "refrain.dev/proto/gen/go/refrain/event/v1"); var x = rand.New(rand.NewPCG(1, 2)); var d time.Duration`,
		"pkg/journey/a_test.go":          `package journey; import ("context"; "os"; "refrain.dev/pkg/state"; "refrain.dev/pkg/journey/scripttest")`,
		"pkg/config/a.go":                `package config; import "flag"; var x = flag.NewFlagSet("", flag.ContinueOnError)`,
		"pkg/run/a.go":                   `package run; import ("os"; "refrain.dev/pkg/stage"); func f() { os.Exit(1) }`,
		"pkg/embed/embedtest/a.go":       `package embedtest; import ("os"; "refrain.dev/pkg/log/logtest"); var x = os.Getenv("X")`,
		"services/mesh/main.go":          `package main; import ("os"; "refrain.dev/services/ingest/ingestsvc"); var x = os.Args`,
		"services/ingest/ingestsvc/a.go": `package ingestsvc; import ("context"; "refrain.dev/services/ingest/ingestsvc/journal"; "refrain.dev/pkg/event"; "refrain.dev/pkg/state")`,
		"pkg/log/gen.go":                 "// Code generated by hand. DO NOT EDIT.\n\npackage util\n\nfunc init() {}",
		"pkg/log/testdata/a.go":          `package util`,
		"tools/pinned/a.go":              `package util`,
		"pkg/policytest/a.go":            `package policytest; import "refrain.dev/pkg/decide"`,
		"services/mesh/meshsvc/a.go":     `package meshsvc; import "refrain.dev/pkg/policytest"`,
	} {
		violations, err := Check(fstest.MapFS{file: {Data: []byte(text)}})
		if err != nil {
			t.Fatal(err)
		}
		if len(violations) > 0 {
			t.Errorf("%s: got %v, want nothing", file, violations)
		}
	}
}
