# What this repository can build, show and check. `make` lists it.
# CONTRIBUTING.md says when to run which.

GO       ?= go
FUZZTIME ?= 30s

# The checks of `make test` run in their written order, also under make -j.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help build demo test gofmt vet staticcheck nocgo rules gotest fuzz test-slow planted bench bench-sdk clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## build bin/rescind
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/rescind ./cmd/rescind

demo: ## the flaw and its cure in one run; needs nothing but Go
	@CGO_ENABLED=0 $(GO) run ./cmd/rescind demo

test: gofmt vet staticcheck nocgo rules gotest ## everything that CI checks, in this order

gofmt: ## formatting
	@unformatted=$$(gofmt -l .) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi

# Without cgo, as the build: what one of them has compiled serves the others.
vet staticcheck rules: export CGO_ENABLED = 0

vet: ## go vet
	$(GO) vet ./...

staticcheck: ## staticcheck, in the version that tools/go.mod pins
	$(GO) tool -modfile=tools/go.mod staticcheck ./...

nocgo: ## everything builds without cgo
	CGO_ENABLED=0 $(GO) build -buildvcs=false ./...

# -count=1: both look at the repository by running other programs, and go test
# cannot know when the answer of a program has changed.
rules: ## who may import whom, and what may be committed
	$(GO) test -count=1 ./tests/imports ./tests/repo

gotest: ## all tests under the race detector, with the seeds of every fuzz target
	.ci/test -race -p 2 -timeout 15m ./...

fuzz: ## every fuzz target for FUZZTIME (30s)
	.ci/fuzz $(FUZZTIME)

test-slow: ## the slow suites in full size: 1,000 kills, all planted bugs; takes hours
	RESCIND_SLOW=1 .ci/test -count=1 -p 1 -timeout 6h ./...

planted: ## remove one safety line after another: the tests must turn red each time
	RESCIND_SLOW=1 .ci/test -count=1 -v -timeout 2h ./tests/planted/...

bench: ## side by side with what people would use instead
	@CGO_ENABLED=0 $(GO) run ./bench

bench-sdk: ## the packages for Node and Python beside bare applications and the recipes with Redis
	@CGO_ENABLED=0 $(GO) run ./bench sdk

clean: ## delete what was built
	rm -rf bin tests/e2e/node_modules tests/docs/node_modules sdk/node/node_modules sdk/node/dist sdk/node/test/nest11/node_modules sdk/python/dist examples/*/node_modules examples/*/dist examples/*/.venv
