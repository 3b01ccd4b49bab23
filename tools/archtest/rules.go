package archtest

import (
	"slices"
	"strings"
)

// class says what kind of package a directory is; the rules are about classes.
type class int

const (
	other class = iota
	contract
	shared
	core
	proof
	plumbing
	service
	mesh
	tool
)

// module is the path that all of our own packages begin with.
const module = "refrain.dev/"

// sharedPackages are used by core and plumbing alike. They obey the rules of core.
func sharedPackages() []string { return []string{"fault"} }

// corePackages are pure: no clock, randomness, I/O, logger or context.
func corePackages() []string {
	return []string{
		"arbitration", "bucket", "catalog", "consent", "contact", "decide", "definition", "delivery",
		"eligibility", "engagement", "event", "explore", "expr", "hold", "identity", "journey", "liquid", "profile",
		"score", "window",
	}
}

// proofPackages run core packages against an imitated world.
func proofPackages() []string { return []string{"policytest", "simulate"} }

// plumbingPackages know no domain word.
func plumbingPackages() []string {
	return []string{"clock", "config", "embed", "failpoint", "log", "membership", "rpc", "run", "snapshot", "source", "stage", "state", "telemetry"}
}

// ledgerReads is what tools/ledger may import beside contracts: the ports by which it reads.
func ledgerReads() []string { return []string{"log", "state"} }

// coreForbidden are imports that a core package must not have; a name ending in "/" stands for all below it.
func coreForbidden() []string {
	return []string{
		"context", "crypto/rand", "log", "log/", "net", "net/", "os", "os/", "syscall",
		"github.com/nats-io/", "github.com/redis/", "google.golang.org/grpc", "google.golang.org/grpc/",
		"go.opentelemetry.io/", "github.com/prometheus/",
	}
}

// coreClock are functions of package time that know the time without being told.
func coreClock() []string {
	return []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}
}

// randomAllowed is what core may use of math/rand: what is seeded by its caller.
func randomAllowed() []string {
	return []string{"ChaCha8", "New", "NewChaCha8", "NewPCG", "NewSource", "NewZipf", "PCG", "Rand", "Source", "Zipf"}
}

// processOnly are the uses of a package that only main packages and pkg/run may make.
func processOnly() map[string][]string {
	return map[string][]string{
		"os": {"Args", "Environ", "Exit", "ExpandEnv", "Getenv", "LookupEnv"},
		"flag": {
			"Arg", "Args", "Bool", "BoolFunc", "BoolVar", "CommandLine", "Duration", "DurationVar", "Float64", "Func", "Int", "Int64",
			"IntVar", "NArg", "NFlag", "Parse", "Parsed", "PrintDefaults", "String", "StringVar", "TextVar", "Uint", "Usage", "Var",
		},
		"os/signal": {"Ignore", "Notify", "NotifyContext", "Reset", "Stop"},
	}
}

// forbiddenNames say nothing about what is in a package.
func forbiddenNames() []string {
	return []string{"base", "common", "core", "domain", "helpers", "interfaces", "manager", "models", "types", "util", "utils"}
}

// classOf tells the class of a directory, a path relative to the repository, and the name that the
// rules know it by: the package below pkg/, the service below services/.
func classOf(dir string) (class, string) {
	first, rest, _ := strings.Cut(dir, "/")
	name, _, _ := strings.Cut(rest, "/")
	switch first {
	case "proto":
		return contract, ""
	case "tools", "examples":
		return tool, name
	case "services":
		if name == "mesh" {
			return mesh, name
		}
		return service, name
	case "pkg":
		for c, names := range map[class][]string{
			shared: sharedPackages(), core: corePackages(), proof: proofPackages(), plumbing: plumbingPackages(),
		} {
			if slices.Contains(names, name) {
				return c, name
			}
		}
	}
	return other, name
}

// mayImport says whether a package may import another one of ours, and if not, why.
func mayImport(from, to class, fromName, toName string) (why string, ok bool) {
	switch {
	case from == contract && to != contract:
		return "contracts import contracts only", false
	case (from == shared || from == core) && to != shared && to != core && to != contract:
		return "R1: core imports core and contracts only", false
	case from == shared && to == core:
		return "R3: what core and plumbing share imports no core", false
	case from == plumbing && to != plumbing && to != shared && to != contract:
		return "R3: plumbing imports no core, no proof and no services", false
	case from == proof && (to == service || to == mesh || to == tool):
		return "R3: a library imports no service and no tool", false
	case from == service && to == service && fromName != toName:
		return "R4: no service imports another one", false
	case from == service && to == mesh:
		return "R4: no service imports the mesh", false
	case from == tool && fromName == "ledger" && to != contract && !slices.Contains(ledgerReads(), toName):
		return "the ledger shares no code with what it checks", false
	case (from == service || from == mesh) && to == tool:
		return "R4: services import no tools", false
	}
	return "", true
}
