// Package openloop asks a server at a constant rate and measures how long an answer takes
// from the moment at which its request was due, not from that at which it was sent.
//
// A closed loop (wrk, hey, h2load) asks again when it has its answer. While a server
// stalls it asks nothing, so of all the users who would have waited it notes one for each
// connection, and the percentiles hide the stall: coordinated omission. Tools that limit
// the rate of each worker of a closed loop (hey -q, h2load --rps) omit the same. Here
// request n is due at n/rate, whatever the server does; where no connection is free it
// waits for one, and the waiting counts.
//
// It is one thread with one epoll, so that it keeps up with fast servers on one
// processor; Linux only. A Result says how late the generator was itself.
package openloop
