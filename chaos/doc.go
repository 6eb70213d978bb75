// Package chaos holds random clients that cut, reset, drip, flood, go
// away and lie, against every example, built with the race detector. Between
// them are good requests whose answers are checked byte by byte.
//
//	go test ./chaos                               # 3 s
//	make chaos DURATION=5m                        # longer
//	go test ./chaos -seed 7 -duration 20s         # the same clients again
//	go test ./chaos -seed 7 -job 1234 -run /echo  # only one of them, again and again
//	make chaos-lossy                              # over a link that loses and delays
//
// What must hold, for each example: no wrong answer, no death, no data race,
// nothing in its log, descriptors and memory back to the start when all clients
// have left, and an orderly end.
//
// TestSlowClients is the same with a thousand slow clients of slowhttptest, and looks
// at how long the others wait:
//
//	make slowhttptest
//
// A client knows HTTP from the RFCs alone; nothing of the server is imported.
package chaos
