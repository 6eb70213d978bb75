// Package bench measures the whole server: in memory, which is stable enough to
// gate on, and over loopback sockets beside net/http, which shows trends.
//
//	go test -bench . ./bench
//	go test -bench Exchange -count 10 ./bench | tee new.txt; benchstat old.txt new.txt
package bench
