// Load measures servers side by side under load: ours, net/http, the peers of
// bench/peers, nginx and h2o where they are installed, and a floor in C.
//
//	go run ./bench/load                          # all of it, under 20 minutes on 2 cores
//	go run ./bench/load -quick -out /tmp/report  # about 3 minutes
//	go run ./bench/load -servers isbjorn,nethttp -plots cpu,depth -rounds 5
//
// What is measured is a table, [plan] in plan.go. Each server runs alone on the first
// processor, the load generator on the others. In a round all servers have their turn, so
// that a slow moment of the machine does not meet one of them; figures are medians over the
// rounds, ratios are taken round by round. Before a server is measured its answers are
// checked; during the load failures are counted, and a server with failures is marked and
// comes last.
//
// Standard output has a line for each measurement as benchstat reads it and a table at
// the end; with -out DIR there are samples.jsonl and run.json of package sample. Progress
// is on standard error.
//
// How to read it: wrk is a closed loop, good for the CPU time of a server per request, and
// it fills its own processor before a fast server fills one, so requests a second above
// 100,000 say as much of wrk. Latency is of package openloop, but in the plot "handler",
// where it is that of 64 clients that wait. Where the generator itself was late twice,
// there is none. hey and h2load add fields of their own.
//
// Linux only. wrk is needed (apt-get install wrk); what else is missing is said and left
// out.
package main
