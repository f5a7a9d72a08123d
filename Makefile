# Targets for developers. `make` alone lists them.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BIN     := .build/holdd
FOR     ?= 5m
SEEDS   ?= 400
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.DEFAULT_GOAL := help
.PHONY: help run build docs test test-fast prove soak mutants torture fuzz bench bench-limit bench-accounts bench-reads bench-renewals bench-scale bench-retention bench-programs bench-bullmq profile check deploy-check release-check redis languages browser clients clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## a demo: Redis, the Stripe simulator, holdd and a demo client in one process; Ctrl-C ends it
	@GO="$(GO)" .ci/build .build/holdd-dev ./cmd/holdd-dev && exec .build/holdd-dev

build: ## the production binary, stripped, at .build/holdd
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN) ./cmd/holdd
	@ls -l $(BIN) | awk '{printf "%s: %.1f MB\n", $$NF, $$5/1e6}'

docs: build ## man pages and completions of the command line, for packages, in .build/share
	$(BIN) docs .build/share

soak: ## the simulation with fresh seeds for FOR (5m); prints the command that replays a failing seed
	$(GO) test ./worker/simtest -run TestSeeds -for $(FOR) -timeout 0 -v
	$(GO) test ./worker/alert -run TestNotifier_ThirtyDaySimulation -worlds 5 -holds 5000 -timeout 0 -v

mutants: ## remove one guard after the other; one of SEEDS (400) worlds must fail
	$(GO) test ./worker/simtest -run TestMutants -mutants -seeds $(SEEDS) -timeout 0 -v

# The race detector makes a simulated world four times as expensive, and an alert ten times. `make
# test` runs a few worlds with it, and `make prove` runs many without it.
# It does not watch the Lua interpreter of the in-process Redis, which runs under one lock.
RACE := GORACE=atexit_sleep_ms=0 $(GO) test -race -gcflags=github.com/yuin/gopher-lua/...=-race=false -timeout 15m
# make check runs vet.
# The packages that take longest begin first, so that the others run beside them. The end-to-end
# tests wait half of their time, so one package more runs than there are cores.
test: redis languages browser clients ## all tests with the race detector, on a real redis-server
	$(RACE) -vet=off -p $$(($$(getconf _NPROCESSORS_ONLN) + 1)) ./worker ./cmd/holdd/e2e ./...
	cd deploy/check/libraries && $(GO) test -count=1 .

# These packages build no binary, and with -short they start no redis-server.
FAST = ./cmd/holdd-dev ./cmd/stripesim ./config $$($(GO) list ./worker/... | grep -v /worker/alert)
test-fast: ## the unit tests, without the race detector and without redis-server
	$(GO) test -short $(FAST)

# Fuzzing is bounded by a count: with a bound in time Go's fuzzer may fail on a busy machine.
SIMTEST := ./worker/simtest -run
prove: redis ## the deep runs: 1,000 simulated worlds, 5,000 holds' alerts, 10,000 webhooks, eight limiters, each fuzz target 5,000 times
	$(GO) test $(SIMTEST) '^Test(Seeds|Regressions|RunPlan_Deterministic)$$' \
	  -seeds 1000 -every 1 -twice 16 -timeout 15m
	$(GO) test ./worker/alert -run '^TestNotifier_ThirtyDaySimulation$$' -holds 5000 -timeout 15m
	$(GO) test ./worker/hold -rapid.checks 10000 -timeout 15m
	$(GO) test ./store -run '^TestLowerRate_FollowsTheLimiter$$' -limiters -timeout 15m
	$(RACE) ./worker -run '^TestWebhook_ShuffledDuplicatedAndDropped$$' -webhooks 6000
	$(RACE) ./cmd/holdd/e2e -run '^Test(Reconcile_RebuildsEmptiedRedis|Webhook_StormMatchesStripe)$$' \
	  -holds 5000 -webhooks 10000
	@$(MAKE) --no-print-directory fuzz FUZZTIME=5000x

torture: redis ## real processes under real faults for FOR (5m); the short form is part of make test
	$(GO) test ./cmd/holdd/torture -run TestTorture -torture.for=$(FOR) -timeout 0 -v

FUZZTIME ?= 60s
fuzz: ## each fuzz target for FUZZTIME (60s, or a count such as 5000x)
	@set -e; $(GO) list -f '{{$$d := .Dir}}{{$$p := .ImportPath}}{{range .TestGoFiles}}{{$$p}} {{$$d}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$$p}} {{$$d}}/{{.}}{{"\n"}}{{end}}' ./... | \
	while read -r pkg file; do [ -n "$$file" ] || continue; \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
	    echo "fuzz $$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$pkg" </dev/null; \
	  done; done

# The benchmarks are a module of their own, so holdd does not depend on the engines that they compare.
BENCH := .build/bench
STRIP := CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w"
# QUICK=1 writes what it found to .build, because its figures are rough.
RESULTS := $(if $(QUICK),$(CURDIR)/.build/results,results)
DOCS := $(if $(QUICK),$(RESULTS)/README.md $(RESULTS)/performance.md,../../README.md ../../deploy/docs/performance.md)
bench: redis bench-programs bench-bullmq ## holdd beside asynq, BullMQ and physical limits, in a quarter of an hour; writes results, chart and documentation; QUICK=1 is the short form, PARTS=drain,verify measures some parts
	@$(if $(QUICK),mkdir -p $(RESULTS) && cp README.md deploy/docs/performance.md $(RESULTS))
	@cd cmd/bench && $(CURDIR)/$(BENCH)/bench -bin $(CURDIR)/$(BENCH) $(if $(QUICK),-quick) $(if $(PARTS),-parts $(PARTS),-results $(RESULTS) $(DOCS))

bench-bullmq:
	@cmd/bench/bullmq/install $(BENCH)/bullmq

bench-limit: redis bench-programs ## only the limiters: eight kinds, beside asynq and a bare loop
	@cd cmd/bench && $(CURDIR)/$(BENCH)/bench -bin $(CURDIR)/$(BENCH) -parts limit $(if $(QUICK),-quick)

bench-accounts: redis bench-programs ## only the same holds over more and more accounts, and one busy account beside others
	@cd cmd/bench && $(CURDIR)/$(BENCH)/bench -bin $(CURDIR)/$(BENCH) -parts accounts $(if $(QUICK),-quick)

bench-reads: redis bench-programs ## only the reads of many intents: verification, a storm of webhooks, reconcile; MILLION=1 for a million intents
	@cd cmd/bench && $(CURDIR)/$(BENCH)/bench -bin $(CURDIR)/$(BENCH) -parts verify,webhook-storm,reconcile $(if $(QUICK),-quick) $(if $(MILLION),-million)

bench-renewals: redis bench-programs ## 10,000 renewals of a compressed hour, beside captures
	@cd cmd/bench && $(CURDIR)/$(BENCH)/bench -bin $(CURDIR)/$(BENCH) -parts renewals $(if $(QUICK),-quick)

bench-scale: redis bench-programs ## each operation with 10k and 1M holds pending, and the ratio; TEN_MILLION=1 for 10M as well
	@cd cmd/bench && $(CURDIR)/$(BENCH)/bench -bin $(CURDIR)/$(BENCH) -parts scale,cluster $(if $(QUICK),-quick) $(if $(TEN_MILLION),-ten-million)

bench-retention: redis bench-programs ## memory and each operation with 1M settled holds and 100k pending; TEN_MILLION=1 for 10M and 1M
	@cd cmd/bench && $(CURDIR)/$(BENCH)/bench -bin $(CURDIR)/$(BENCH) -parts retention $(if $(QUICK),-quick) $(if $(TEN_MILLION),-ten-million)

profile: redis bench-programs ## CPU and allocations of a drain: the top functions, and the profiles in .build/profile
	@cd cmd/bench && $(CURDIR)/$(BENCH)/bench -bin $(CURDIR)/$(BENCH) -profile $(CURDIR)/.build/profile
	@for p in cpu allocs; do echo; $(GO) tool pprof -top -nodecount 35 $$([ $$p = cpu ] || echo -sample_index=alloc_space) .build/profile/$$p.pprof 2>/dev/null; done
	@echo; $(GO) tool pprof -top -cum -nodecount 45 .build/profile/cpu.pprof 2>/dev/null

bench-programs: build
	@mkdir -p $(BENCH) && cp $(BIN) $(BENCH)/holdd
	@cd cmd/bench && for p in stub bare asynqworker profiled; do $(STRIP) -o $(CURDIR)/$(BENCH)/$$p ./$$p || exit 1; done && $(GO) build -o $(CURDIR)/$(BENCH)/bench .

check: ## formatting, vet, staticcheck, tidy modules
	@out=$$(gofmt -l .); [ -z "$$out" ] || { echo "not gofmt-ed: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff
	cd cmd/bench && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./... && $(GO) mod tidy -diff
	cd deploy/check/libraries && $(GO) vet . && $(GO) run $(STATICCHECK) . && $(GO) mod tidy -diff
	cd deploy/check/testcontainers && $(GO) vet . && $(GO) mod tidy -diff

# systemd-analyze needs the program of the unit to exist. These tests are never cached: Go does not
# notice changes of files outside their module.
UNIT := .build/unit/holdd.service
deploy-check: export PATH := $(CURDIR)/.build/tools:$(PATH)
deploy-check: redis docs ## check deploy/ with promtool, helm and systemd-analyze, and run each example with the binary
	@.ci/deploy
	cd deploy/prometheus && promtool check rules holdd.rules.yaml && promtool test rules holdd.rules.test.yaml
	helm lint --strict deploy/helm/holdd --set existingSecret=holdd
	helm template holdd deploy/helm/holdd --set existingSecret=holdd >/dev/null
	@if command -v systemd-analyze >/dev/null; then set -e; mkdir -p $(dir $(UNIT)); \
	  sed 's,/usr/local/bin/holdd serve,$(CURDIR)/$(BIN) serve,' deploy/systemd/holdd.service >$(UNIT); \
	  echo systemd-analyze verify holdd.service; out=$$(systemd-analyze verify --man=no $(UNIT) 2>&1) || true; [ -z "$$out" ] || { echo "$$out"; exit 1; }; \
	  out=$$(systemd-analyze security --offline=true --no-pager --threshold=15 $(UNIT)) || { echo "$$out"; exit 1; }; echo "$$out" | tail -1; \
	fi
	cd deploy/check && $(GO) vet . && $(GO) run $(STATICCHECK) . && $(GO) mod tidy -diff && $(GO) test -count=1 .

release-check: export PATH := $(CURDIR)/.build/tools:$(PATH)
release-check: ## a release without publishing it, twice: archives, packages and SBOMs are equal and have what they should
	@.ci/release
	cd deploy/check && $(GO) test -count=1 -run '^TestRelease_DryRun$$' -release -timeout 30m -v .

redis: ## install redis-server if it is missing
	@.ci/redis

languages: ## install what the documentation's snippets and the test of Stripe's libraries need
	@.ci/languages

browser: ## install Chromium and axe-core for the tests of the console
	@.ci/browser

clients: ## install what generates, lints and type-checks the clients in deploy/clients
	@.ci/clients

clean: ## remove the build directory
	rm -rf .build
