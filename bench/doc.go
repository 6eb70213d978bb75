// Package bench measures the whole server: in memory, which is stable enough to
// gate on, and over loopback sockets beside net/http, which shows trends.
//
//	go test -run '^$' -bench Exchange -count 10 ./bench | tee new.txt; benchstat old.txt new.txt
//	go test -run '^$' -bench Serve -count 6 ./bench | benchstat -col /server -
//
// What one part of the server costs is measured where it is: in loop, parser, server and
// gateway/nethttp. A scenario is a line in scenario_test.go, for both servers.
package bench
