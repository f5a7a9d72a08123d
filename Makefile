# Everything that this project can do for its developers. `make` alone lists it.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BIN     := .build/holdd
FOR     ?= 5m
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.DEFAULT_GOAL := help
.PHONY: help run build test soak mutants torture fuzz check redis clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## a first look: Redis, a Stripe simulator, holdd and a small hotel in one process; Ctrl-C ends it
	@$(GO) build -o .build/holdd-dev ./cmd/holdd-dev && exec .build/holdd-dev

build: ## the production binary, stripped, at .build/holdd
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN) ./cmd/holdd
	@ls -l $(BIN) | awk '{printf "%s: %.1f MB\n", $$NF, $$5/1e6}'

soak: ## the simulation with fresh seeds for FOR (5m); a seed that fails is printed with the command that replays it
	$(GO) test ./worker/simtest -run TestSeeds -for $(FOR) -timeout 0 -v
	$(GO) test ./worker/alert -run TestThirtyDaysOfHolds -worlds 10 -timeout 0 -v

mutants: ## take out one guard after the other and see whether the simulation notices
	$(GO) test ./worker/simtest -run TestMutants -mutants -timeout 0 -v

# Fuzzing is bounded by a count there: a bound in time makes Go's fuzzer fail by itself on a busy machine.
test: redis ## all tests with the race detector, on a real redis-server, then each fuzz target for a while
	GORACE=atexit_sleep_ms=0 $(GO) test -race -timeout 15m ./...
	@$(MAKE) --no-print-directory fuzz FUZZTIME=20000x

torture: redis ## real processes under real faults for FOR (5m); the short form is part of make test
	$(GO) test ./cmd/holdd/torture -run TestTorture -torture.for=$(FOR) -timeout 0 -v

FUZZTIME ?= 60s
fuzz: ## each fuzz target for FUZZTIME (60s, or a count such as 20000x)
	@set -e; $(GO) list -f '{{$$d := .Dir}}{{$$p := .ImportPath}}{{range .TestGoFiles}}{{$$p}} {{$$d}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$$p}} {{$$d}}/{{.}}{{"\n"}}{{end}}' ./... | \
	while read -r pkg file; do [ -n "$$file" ] || continue; \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
	    echo "fuzz $$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$pkg" </dev/null; \
	  done; done

check: ## formatting, vet, staticcheck, tidy modules
	@out=$$(gofmt -l .); [ -z "$$out" ] || { echo "not gofmt-ed: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff

redis: ## make sure that a real redis-server is there
	@.ci/redis

clean: ## remove what was built
	rm -rf .build
