package bench

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/internal/benchmark"
	"github.com/isbjorn/isbjorn/server"
	"github.com/isbjorn/isbjorn/server/servertest"
)

// TestMain is also the program that BenchmarkServe measures.
func TestMain(m *testing.M) {
	if what := os.Getenv(serverVariable); what != "" {
		if err := serverMain(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	benchmark.Units()
	os.Exit(m.Run())
}

var quiet = slog.New(slog.DiscardHandler)

// readBytes is how much a server reads at once: loop.Options.
const readBytes = 64 << 10

// BenchmarkExchange is all of the server but the system calls of sockets: bytes in,
// bytes out. One operation is one request.
func BenchmarkExchange(b *testing.B) {
	for i := range scenarios {
		sc := &scenarios[i]
		if sc.over {
			continue
		}
		b.Run(sc.name, func(b *testing.B) {
			s, err := server.New(applications[sc.app].isbjorn, server.Options{Logger: quiet, Loops: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			m := servertest.OpenMemory(s)
			reads := slices.Collect(slices.Chunk([]byte(strings.Repeat(sc.request, sc.depth)), readBytes))
			exchange := func() {
				m.Out = m.Out[:0]
				for _, read := range reads {
					m.Feed(read)
				}
			}
			exchange()
			if err := sc.readAnswers(bytes.NewReader(m.Out), sc.depth); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(sc.bytes())
			b.ReportAllocs()
			meter := benchmark.Start(b, 0)
			for range benchmark.Batches(b, sc.depth) {
				exchange()
			}
			meter.Report(b)
			if err := sc.readAnswers(bytes.NewReader(m.Out), sc.depth); err != nil {
				b.Error(err)
			}
		})
	}
}

// Every benchmark works, and reports what benchstat can read. Names are for good: who
// compares two revisions compares by name.
func TestBenchmarks(t *testing.T) {
	reported := []string{"req/s"}
	if runtime.GOOS == "linux" {
		reported = append(reported, "cpu-us/req") // of another process
	}
	names := benchmark.Verify(t, reported...)
	for _, name := range []string{
		"Exchange/head=hello/depth=1", "Exchange/head=hello/depth=16",
		"Exchange/head=browser/depth=1", "Exchange/head=browser/depth=16",
		"Exchange/head=post1k/depth=1", "Exchange/head=chunked1k/depth=1",
		"Serve/server=isbjorn/head=hello/depth=1", "Serve/server=nethttp/head=hello/depth=1",
	} {
		if !slices.Contains(names, "Benchmark"+name) {
			t.Errorf("there is no Benchmark%s", name)
		}
	}
}
