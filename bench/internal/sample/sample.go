// Package sample is what the load runner writes and the report reads: a file of lines,
// one JSON object for each measurement, and one object about the run.
package sample

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Sample is one measurement of one server.
type Sample struct {
	Plot   string `json:"plot"`   // what it is part of, one of the constants
	Server string `json:"server"` // key of Run.Versions
	Round  int    `json:"round"`  // from 1; all servers are measured in each
	X      X      `json:"x"`
	// Values are by unit as in the output of go test -bench: "cpu-us/req", "req/s".
	// "requests" and "errors" are counts.
	Values map[string]float64 `json:"values"`
}

// X is what was asked for. The zero value of a field is: not said.
type X struct {
	Tool     string  `json:"tool,omitempty"`     // load generator
	Head     string  `json:"head,omitempty"`     // hello or browser
	Depth    int     `json:"depth,omitempty"`    // requests written at once
	Conns    int     `json:"conns,omitempty"`    // connections
	Rate     float64 `json:"rate,omitempty"`     // offered, requests a second
	Quantile float64 `json:"quantile,omitempty"` // of the latency, 0 to 1
	Cost     string  `json:"cost,omitempty"`     // of the handler
}

// The plots. The comment says which fields of X and which values each has. Rate has no latency where the generator
// itself was too slow (late-p99-us, busy).
const (
	CPU        = "cpu"        // Head, Depth, Conns: cpu-us/req, req/s, requests, errors
	Tools      = "tools"      // Tool, Head, Conns: the same, by other load generators
	Conns      = "conns"      // Conns: req/s, cpu-us/req, requests, errors
	Depth      = "depth"      // Depth: cpu-us/req, req/s, requests, errors
	Rate       = "rate"       // Rate, Conns: req/s, p50-us to max-us, requests, errors, late-p99-us, busy
	Percentile = "percentile" // Rate, Conns, Quantile: latency-us
	Short      = "short"      // a connection for each request: cpu-us/conn, conn/s, requests, errors
	Idle       = "idle"       // Conns: rss-B, B/conn
	Stalled    = "stalled"    // Conns that do not read: rss-B
	Handler    = "handler"    // Cost ("none", "work 1ms", "sleep 5ms"), Conns: req/s, cpu-us/req, p50-us, p99-us, requests, errors
	Syscalls   = "syscalls"   // Head, Depth: syscalls/req
)

// Floor is the server that knows no HTTP.
const Floor = "floor"

// Run is about the run as a whole.
type Run struct {
	Began    time.Time         `json:"began"`
	Took     float64           `json:"took_seconds"`
	Command  string            `json:"command"`
	Rounds   int               `json:"rounds"`
	Machine  Machine           `json:"machine"`
	Pins     map[string]string `json:"pins"`     // role to list of processors
	Versions map[string]string `json:"versions"` // of servers and tools
	Missing  map[string]string `json:"missing"`  // server, tool, or "server, plot" to why it was not measured
}

// Machine is where it was.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int    `json:"memory_bytes"`
	Kernel string `json:"kernel"`
}

// Write writes one line for each sample.
func Write(w io.Writer, samples ...Sample) error {
	e := json.NewEncoder(w)
	for i := range samples {
		if err := e.Encode(&samples[i]); err != nil {
			return err
		}
	}
	return nil
}

// Read reads what Write wrote. An error names the line.
func Read(r io.Reader) ([]Sample, error) {
	var samples []Sample
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		var s Sample
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		samples = append(samples, s)
	}
	return samples, lines.Err()
}
