# Everything that people and CI run. `make` alone is generate, lint, test; `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules --no-print-directory

CACHE := $(CURDIR)/.cache
BIN := $(CACHE)/bin
PINNED := $(CURDIR)/tools/pinned
# Modules with code that is written by hand.
MODULES := pkg services tools
# What `generate` writes; check-generate looks at nothing else.
GENERATED := proto/gen
# Set it to a path to have `generate` write the JSON Schema of definitions there.
SCHEMA ?= docs/definitions.schema.json
# Flags for go test, such as TESTFLAGS=-v.
TESTFLAGS ?=
# Where concurrency can go wrong; `make race RACE=work` for everything.
RACE ?= ./pkg/log/... ./pkg/state/... ./pkg/stage/... ./services/...
# Time for each fuzz target.
FUZZTIME ?= 10s
# Times that each benchmark runs; once keeps them from rotting.
BENCHTIME ?= 1x
# Flags for `make load`, such as LOADFLAGS="-for 30s -hot 0.3".
LOADFLAGS ?=
# Simulated worlds for `make simulate`, and the planted bugs to look for: all, names, or nothing.
SEEDS ?= 2000
MUTANTS ?= all
# How long `make chaos` breaks things, and its flags, such as CHAOSFLAGS="-seed 7 -kills 30".
FOR ?= 2m
CHAOSFLAGS ?=
# Profiles for `make bench-rebuild`.
PROFILES ?= 20000
# A file of cases in the form of Golden Liquid, for `make oracles`.
GOLDEN ?= pkg/liquid/testdata/golden-liquid.json
# The UCI Online Retail file for `make demo`; without one, a small sample of our own.
DATA ?=

.PHONY: all
all: generate lint test ## Generate, lint, test

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: generate
generate: $(BIN)/buf $(BIN)/protoc-gen-go $(BIN)/protoc-gen-go-grpc $(BIN)/protoc-gen-go-vtproto ## Make the code that follows from proto/
	tools/scripts/validate-proto.sh
	PATH="$(BIN):$$PATH" $(BIN)/buf generate --clean
	$(if $(SCHEMA),go run ./tools/refrain schema > $(SCHEMA))

.PHONY: check-generate
check-generate: generate ## Fail if `make generate` changes anything
	@changed="$$(git status --porcelain --untracked-files=all -- $(GENERATED) $(SCHEMA))"; \
	if [[ -n "$$changed" ]]; then \
		git --no-pager diff --stat -- $(GENERATED) $(SCHEMA); \
		printf '%s\nrun "make generate" and commit what it changes\n' "$$changed" >&2; exit 1; \
	fi

.PHONY: fmt
fmt: $(BIN)/golangci-lint $(BIN)/buf ## Format Go and proto
	for module in $(MODULES); do (cd "$$module" && $(BIN)/golangci-lint fmt); done
	$(BIN)/buf format --write proto

.PHONY: lint
lint: lint-go lint-proto ## golangci-lint, buf lint, buf format, buf breaking

.PHONY: lint-go
lint-go: $(BIN)/golangci-lint
	status=0; for module in $(MODULES); do (cd "$$module" && $(BIN)/golangci-lint run ./...) || status=1; done; exit $$status

.PHONY: lint-proto
lint-proto: $(BIN)/buf
	tools/scripts/validate-proto.sh
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code proto
	BUF=$(BIN)/buf tools/scripts/breaking.sh

# Go's cache of test results does not see files of other modules, so this one always runs.
.PHONY: arch
arch: ## Who may import whom, as a test
	go test -count=1 ./tools/archtest

# gotest shows what go test shows, and at the end every test that was skipped, and why.
.PHONY: test
test: ## All tests; needs only Go, and says what it could not test
	@mkdir -p $(BIN) && go build -o $(BIN)/gotest ./tools/gotest
	go test -json $(TESTFLAGS) work | $(BIN)/gotest

.PHONY: race
race: ## Tests under the race detector (needs gcc), see RACE
	go test -race -timeout 20m $(RACE)

.PHONY: fuzz
fuzz: ## Every fuzz target for FUZZTIME
	tools/scripts/fuzz.sh $(FUZZTIME) $(MODULES)

.PHONY: bench
bench: ## Every benchmark for BENCHTIME, then the table of ratios
	go test -run '^$$' -bench . -benchtime $(BENCHTIME) work
	$(if $(wildcard tools/bench/main.go),go run ./tools/bench)

.PHONY: bench-rebuild
bench-rebuild: ## The time to make the states of PROFILES profiles again in an empty Redis
	go run ./tools/bench --rebuild $(PROFILES)

.PHONY: run
run: ## A mesh in one process plays a shop's last week, then is yours
	@echo "Building the mesh; the first time that takes a few minutes."
	@mkdir -p $(BIN) && go build -o $(BIN)/tour ./tools/tour
	@exec $(BIN)/tour

.PHONY: simulate
simulate: ## The services in simulated worlds where things go wrong, SEEDS of them, then with planted bugs (MUTANTS)
	go run ./tools/simulate -seeds $(SEEDS) -mutants "$(MUTANTS)"

.PHONY: oracles
oracles: ## Parts of Refrain against the answers of other implementations; GOLDEN=file for other cases of Liquid
	@go run ./tools/oracles -golden "$(GOLDEN)"

.PHONY: demo
demo: ## A year of a shop on the replay clock, checked from the logs; DATA=file for real data
	@mkdir -p $(BIN) && go build -o $(BIN)/demo ./tools/demo
	@$(BIN)/demo $(if $(DATA),-data "$(DATA)")

.PHONY: load
load: ## A mesh under up to ten times what it can take: who is refused, how long the rest takes, lost=0; see LOADFLAGS
	@mkdir -p $(BIN) && go build -o $(BIN)/load ./tools/load
	@$(BIN)/load $(LOADFLAGS)

.PHONY: chaos
chaos: ## Real processes over real brokers, killed, paused, cut off and lied to for FOR, then checked; see CHAOSFLAGS
	@mkdir -p $(BIN) && go build -o $(BIN)/chaos ./tools/chaos
	@exec $(BIN)/chaos -for $(FOR) $(CHAOSFLAGS)

.PHONY: grpcurl
grpcurl: $(BIN)/grpcurl ## Build the pinned grpcurl into .cache/bin

# Build tools: pinned in modules outside of go.work, because what they need must not choose our versions.
PINNED_SUMS := $(PINNED)/go.mod $(PINNED)/go.sum
build-pinned = mkdir -p $(BIN) && cd $(PINNED) && GOWORK=off go build -o $@

$(BIN)/buf: $(PINNED_SUMS)
	$(build-pinned) github.com/bufbuild/buf/cmd/buf

$(BIN)/golangci-lint: $(PINNED_SUMS)
	$(build-pinned) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(BIN)/protoc-gen-go: $(PINNED_SUMS)
	$(build-pinned) google.golang.org/protobuf/cmd/protoc-gen-go

$(BIN)/protoc-gen-go-grpc: $(PINNED_SUMS)
	$(build-pinned) google.golang.org/grpc/cmd/protoc-gen-go-grpc

$(BIN)/protoc-gen-go-vtproto: $(PINNED_SUMS)
	$(build-pinned) github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto

$(BIN)/grpcurl: $(PINNED)/grpcurl/go.mod $(PINNED)/grpcurl/go.sum
	mkdir -p $(BIN) && cd $(PINNED)/grpcurl && GOWORK=off go build -o $@ github.com/fullstorydev/grpcurl/cmd/grpcurl
