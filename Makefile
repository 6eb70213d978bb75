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
LOSSY     ?= .
CONNS     ?= 10000
DURATION  ?= 2m
SLOW      ?= 20s
SEED      ?= 0
SLOWEST   ?= 100ms
PORT      ?= 29070
BASE      ?=
TIME      ?= 100s
GATE      ?=
OUT       ?= $(BIN)/gate-results

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c

BIN         := $(CURDIR)/bin
STATICCHECK := $(BIN)/staticcheck
PLATFORMS   := darwin/arm64 freebsd/amd64 linux/arm64

.PHONY: $(shell awk -F : '/^[a-z-]+:/ {print $$1}' $(firstword $(MAKEFILE_LIST)))

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the examples and the programs to measure into ./bin
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build -o $(BIN)/ ./examples/... ./bench/nethttp ./bench/bridge

compile: ## compile everything without cgo, with both pollers, and an example with the profile
	CGO_ENABLED=0 go build -pgo=bench/server.pgo -o $(BIN)/profiled ./examples/hello
	CGO_ENABLED=0 go build ./...
	CGO_ENABLED=0 go build -tags poll_opt ./...

test: ## run the tests
	go test ./...

short: ## what suits every save: no processes, gigabytes or floods
	go test -short ./...

purego: ## the parser's tests without assembly
	go test -tags purego ./parser

# The programs of examples and bench are built without the detector, those of chaos with it in any case.
race: ## run the tests with the race detector, in random order, but those that only start programs, and measurements
	CGO_ENABLED=1 go test -race -shuffle=on $$(go list ./... | grep -v '/chaos$$\|/bench\|/examples$$\|/docs$$')
	CGO_ENABLED=1 go test -race -shuffle=on -short ./bench/...

poll-opt: ## the loop's tests with gnet's other poller and the race detector (checkptr: docs/decisions.md)
	CGO_ENABLED=1 go test -tags poll_opt -race -gcflags=all=-d=checkptr=0 -shuffle=on ./loop

dispatch: ## the server's tests with applications on the loops alone (Inline), and on workers (Pool), at once
	@$(MAKE) --no-print-directory -j2 -Otarget dispatch-Inline dispatch-Pool

dispatch-%:
	TEST_ISBJORN_DISPATCH=$* go test -shuffle=on ./server

apps: ## applications of others, by net/http and by isbjorn
	cd apps && go vet . && go test -shuffle=on .

stdtest: ## Go's own tests of net/http, by isbjorn
	cd apps && go vet ./stdtest && go test -count=1 -v ./stdtest

test-pythons: ## the tests of package wsgi by more Pythons, which are downloaded once: 3.10, 3.13, 3.14
	pythons=$$(cd apps && go vet ./pythons && go run ./pythons) && TEST_ISBJORN_PYTHONS=$$pythons go test -count=1 ./wsgi/...

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@mkdir -p $(BIN)
	@go test -list '^Fuzz' ./... \
	| awk '/^Fuzz/ {name[n++] = $$1} /^ok/ {for (i = 0; i < n; i++) print $$2, name[i]; all += n; n = 0} END {exit !all}' \
	| while read -r package target; do \
		echo "== $$target"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$package" </dev/null 2>&1 | tee $(BIN)/fuzz.log || { \
			! grep -q 'Failing input' $(BIN)/fuzz.log && grep -q 'context deadline exceeded' $(BIN)/fuzz.log; \
		} || exit 1; \
	done # go test may take the end of -fuzztime for a failure; a finding names its input

chaos: ## random clients against every example for DURATION (2m); SEED=N repeats a run
	CGO_ENABLED=1 go test -count=1 -timeout 0 -v ./chaos -need-race -duration $(DURATION) -seed $(SEED) | grep -v '=== '

chaos-lossy: ## the same over a link that loses and delays, where the machine allows it
	chaos/lossy.sh -duration $(DURATION) -seed $(SEED) -test.run '$(LOSSY)' | grep -v '=== '

slowhttptest: ## 1,000 slow clients of each kind for SLOW (20s), while others are served
	go test -count=1 -v ./chaos -run '^TestSlowClients$$' -slow $(SLOW) -slowest $(SLOWEST) | grep -v '=== '

chaos-quick: ## 4 s of each of these; the lossy link, which waits most of the time, beside the others
	@$(MAKE) --no-print-directory -j2 -Otarget DURATION=4s SLOW=4s SLOWEST=250ms \
		'LOSSY=TestChaos/(hello|echo|bridge)' chaos-lossy chaos-then-slow

chaos-then-slow: chaos
	@$(MAKE) --no-print-directory slowhttptest

smoke: build ## the examples, asked by curl: content, a Unix socket, a malformed request, a stop
	BIN=$(BIN) .ci/examples hello echo_content environ unix_socket malformed

load-tools: build ## wrk, hey, ab and h2load for some seconds: no errors
	BIN=$(BIN) .ci/examples load

syscalls: build ## one receive and one send for a request, counted by strace
	BIN=$(BIN) .ci/examples system_calls

bench: ## run the benchmarks (BENCH=., BENCHTIME=1s, COUNT=1)
	go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -count $(COUNT) ./...

bench-python: ## Python applications beside gunicorn, uWSGI and waitress (about 20 min; PYTHONBENCH="--rounds 1")
	CGO_ENABLED=0 go build -o $(BIN)/isbjorn ./cmd/isbjorn
	python3 bench/python/measure.py $(PYTHONBENCH) $(BIN)/isbjorn

pgo: ## renew bench/server.pgo by a mixed load, about 40 s on a quiet machine
	rm -rf $(BIN)/profiles && mkdir -p $(BIN)/profiles
	BENCH_ISBJORN_PROFILES=$(BIN)/profiles go test -trimpath -run '^$$' -benchtime 2s ./bench \
		-bench '^BenchmarkServe$$/server=isbjorn/^(head=(hello|tfb|browser|post1k|chunked1k)|app=(stream|file|bridge))$$'
	go tool pprof -proto $(BIN)/profiles/*.pprof >bench/server.pgo

bench-gate: ## fail if this tree is slower than BASE (HEAD, or HEAD^ if nothing has changed), in TIME (100s)
	cd bench/gate && go build -o $(BIN)/gate .
	$(BIN)/gate -base '$(BASE)' -time $(TIME) -out '$(OUT)' $(GATE)

gate-test: $(STATICCHECK) ## the gate sees planted regressions: 10 % of CPU time, an allocation, a system call
	cd bench/gate && go vet ./... && $(STATICCHECK) ./... && go test -count=1 -v ./... | grep -v '=== '

tools: build ## the measuring tools work; the figures of so short a run mean nothing
	rm -rf $(BIN)/tools && mkdir -p $(BIN)/tools
	cc -O2 -Wall -Wextra -o $(BIN)/floor bench/measure/epoll.c
	python3 bench/measure/measure.py --help >/dev/null
	python3 bench/measure/where.py --help >/dev/null
	python3 bench/python/handover.py --apps 'bare' --rounds 1 --requests 200 | grep -c '^| bare | [12] |' | grep -x 8
	CGO_ENABLED=0 go build -o $(BIN)/isbjorn ./cmd/isbjorn
	python3 bench/python/measure.py --rounds 1 --seconds 1 --servers isbjorn --loads bare $(BIN)/isbjorn | grep '^| isbjorn | [1-9]'
	python3 bench/measure/scale.py --work 100us --rounds 1 --seconds 1 $(BIN)/bridge | grep '^requests per second, two loops to one: [0-9]'
	python3 bench/measure/sweep.py --work 0s --sleep '' --rounds 1 --seconds 1 $(BIN)/bridge | grep '^| work 0s | [1-9]'
	go run ./bench/load -quick -servers isbjorn,nethttp -plots depth,rate -out $(BIN)/tools >$(BIN)/tools/load.log
	grep -m 1 '^BenchmarkLoad/plot=depth/server=isbjorn' $(BIN)/tools/load.log
	cd bench/plot && go vet ./... && go test ./... && go run . $(BIN)/tools
	grep -q 'depth.svg' $(BIN)/tools/README.md
	cd bench/peers && go vet ./...

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
