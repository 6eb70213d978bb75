# Every target runs from a clean checkout. Variables can be given on the command
# line: make fuzz FUZZTIME=1m, make measure HEAD=browser DEPTH=16.

FUZZTIME  ?= 10s
BENCHTIME ?= 1s
BENCH     ?= .
COUNT     ?= 1
HEAD      ?= hello
DEPTH     ?= 1
ROUNDS    ?= 3
SECONDS   ?= 3
SWEEP     ?=
LOAD      ?=
CONNS     ?= 10000
DURATION  ?= 2m
SLOW      ?= 20s
SEED      ?= 0
PORT      ?= 29070
BASE      ?=
TIME      ?= 100s
OUT       ?= $(BIN)/gate-results

BIN         := $(CURDIR)/bin
STATICCHECK := $(BIN)/staticcheck
PLATFORMS   := darwin/arm64 freebsd/amd64 linux/arm64

.PHONY: help build test dispatch race apps stdtest fuzz chaos chaos-lossy slowhttptest bench pgo bench-gate load report report-quick measure where scale sweep idle lint cross ci clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the examples and the programs to measure into ./bin
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build -o $(BIN)/ ./examples/... ./bench/nethttp ./bench/bridge

test: ## run the tests
	go test ./...

dispatch: ## the tests of the server with its applications on the loops alone (Inline), and on workers (Pool)
	ISBJORN_TEST_DISPATCH=Inline go test -short ./server
	ISBJORN_TEST_DISPATCH=Pool go test -short ./server

race: ## run the tests with the race detector, in random order
	go test -race -shuffle=on ./...

apps: ## applications of others, by net/http and by isbjorn
	cd apps && go vet . && go test -shuffle=on .

stdtest: ## Go's own tests of net/http, by isbjorn
	cd apps && go vet ./stdtest && go test -v ./stdtest

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@go test -list '^Fuzz' ./... \
	| awk '/^Fuzz/ {name[n++] = $$1} /^ok/ {for (i = 0; i < n; i++) print $$2, name[i]; n = 0}' \
	| while read -r package target; do \
		echo "== $$target"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$package" </dev/null || exit 1; \
	done

chaos: ## random clients against every example for DURATION (2m); SEED=N repeats a run
	go test -count=1 -timeout 0 -v ./chaos -need-race -duration $(DURATION) -seed $(SEED)

chaos-lossy: ## the same over a link that loses and delays, where the machine allows it
	chaos/lossy.sh -duration $(DURATION) -seed $(SEED)

slowhttptest: ## 1,000 slow clients of each kind for SLOW (20s), while others are served
	go test -count=1 -v ./chaos -run '^TestSlowClients$$' -slow $(SLOW)

bench: ## run the benchmarks (BENCH=., BENCHTIME=1s, COUNT=1)
	go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -count $(COUNT) ./...

pgo: ## renew bench/server.pgo by a mixed load, about 40 s on a quiet machine
	rm -rf $(BIN)/profiles && mkdir -p $(BIN)/profiles
	ISBJORN_BENCH_PROFILES=$(BIN)/profiles go test -trimpath -run '^$$' -benchtime 2s ./bench \
		-bench '^BenchmarkServe$$/server=isbjorn/^(head=(hello|tfb|browser|post1k|chunked1k)|app=(stream|file|bridge))$$'
	go tool pprof -proto $(BIN)/profiles/*.pprof >bench/server.pgo

bench-gate: ## fail if this tree is slower than BASE (HEAD, or HEAD^ if nothing has changed), in TIME (100s)
	cd bench/gate && go build -o $(BIN)/gate .
	$(BIN)/gate -base '$(BASE)' -time $(TIME) -out '$(OUT)'

load: ## servers side by side under load, under 20 minutes (LOAD="-plots cpu -servers isbjorn,nethttp")
	go run ./bench/load $(LOAD)

report: ## the same, and a page of pictures of it, in bench/report
	go run ./bench/load -out bench/report $(LOAD)
	cd bench/plot && go run . -readme ../../README.md ../report

report-quick: ## the same in about 3 minutes, in ./bin/report
	go run ./bench/load -quick -out $(BIN)/report $(LOAD)
	cd bench/plot && go run . $(BIN)/report

measure: build ## CPU time per request: C floor, hello, net/http (HEAD, DEPTH, ROUNDS)
	cc -O2 -o $(BIN)/floor bench/measure/epoll.c
	python3 bench/measure/measure.py --head $(HEAD) --depth $(DEPTH) --rounds $(ROUNDS) --seconds $(SECONDS) \
		"floor=$(PORT)=$(BIN)/floor $(PORT)" \
		"isbjorn=$$(( $(PORT) + 1 ))=$(BIN)/hello -addr 127.0.0.1:$$(( $(PORT) + 1 ))" \
		"nethttp=$$(( $(PORT) + 2 ))=$(BIN)/nethttp -addr 127.0.0.1:$$(( $(PORT) + 2 ))"

sweep: build ## an http.Handler by what it costs: net/http, isbjorn, Pool (SWEEP, ROUNDS)
	python3 bench/measure/sweep.py --rounds $(ROUNDS) --seconds $(SECONDS) $(SWEEP) $(BIN)/bridge

where: build ## the same time by part of the program, with perf (HEAD, DEPTH, ROUNDS)
	cc -O2 -o $(BIN)/floor bench/measure/epoll.c
	python3 bench/measure/where.py --head $(HEAD) --depth $(DEPTH) --rounds $(ROUNDS) --seconds $(SECONDS) \
		"floor=$(PORT)=$(BIN)/floor $(PORT)" \
		"isbjorn=$$(( $(PORT) + 1 ))=$(BIN)/hello -addr 127.0.0.1:$$(( $(PORT) + 1 ))"

scale: build ## requests a second with two loops and with one (ROUNDS)
	python3 bench/measure/scale.py --rounds $(ROUNDS) --seconds $(SECONDS) $(BIN)/bridge

idle: build ## memory of an idle connection: hello, an http.Handler, net/http (CONNS=10000)
	go run ./bench/idle -n $(CONNS) $(BIN)/hello -addr 127.0.0.1:0
	go run ./bench/idle -n $(CONNS) $(BIN)/bridge -addr 127.0.0.1:0
	go run ./bench/idle -n $(CONNS) $(BIN)/bridge -server nethttp -addr 127.0.0.1:0

lint: $(STATICCHECK) ## gofmt, go vet and staticcheck, with both pollers
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go vet -tags poll_opt ./...
	$(STATICCHECK) ./...
	$(STATICCHECK) -tags poll_opt ./...
	$(STATICCHECK) -tags purego ./parser

$(STATICCHECK):
	GOBIN=$(BIN) go install honnef.co/go/tools/cmd/staticcheck@v0.8.2

cross: ## build and vet, tests included, for the other platforms
	@for p in $(PLATFORMS); do \
		echo "== $$p"; \
		export CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/}; \
		go build ./... && go vet ./... || exit 1; \
	done

ci: ## all that must hold before a change goes in: .ci/run
	.ci/run

clean: ## remove ./bin
	rm -rf $(BIN)
