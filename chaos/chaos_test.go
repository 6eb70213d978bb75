package chaos

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/isbjorn/isbjorn/server" // what the examples are made of: go test must not answer from its cache when it changes
)

var (
	duration = flag.Duration("duration", 3*time.Second, "how long the clients go on")
	parallel = flag.Int("clients", 16, "clients at work at once, for each example")
	seed     = flag.Uint64("seed", 0, "what the clients are made from; 0 takes a new one")
	only     = flag.Int64("job", -1, "run this one job again and again")
	needRace = flag.Bool("need-race", false, "fail if the examples cannot be built with the race detector")
	lossy    = flag.Bool("lossy", false, "go over a link of the test's own that loses and delays; needs CAP_NET_ADMIN (see lossy.sh)")
	settle   = flag.Duration("settle", 30*time.Second, "how long the server may take to see that all clients have gone")
)

// multithread is what the examples say of themselves: they have one loop for
// each core.
var multithread = strconv.FormatBool(runtime.GOMAXPROCS(0) > 1)

// failuresMax ends a run that shows the same again and again.
const failuresMax = 5

// job is one client's part. Its number and the seed make all that is random in it.
type job struct {
	example *example
	addr    string
	rng     *rand.Rand
	tally   *tally
	clients []*client
}

// tally counts what was done to one example.
type tally struct {
	runs, longest                    []atomic.Int64 // of each behaviour; ns
	answers, refusals, interim, slow atomic.Int64
}

func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("repeat with: go test ./chaos -seed %d -duration %v -clients %d", *seed, *duration, *parallel)
	listen := "127.0.0.1:0"
	if *lossy {
		listen = openLink(t)
	}
	bin := build(t)
	for _, x := range examples {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			chaos(t, x, filepath.Join(bin, x.name), listen)
		})
	}
}

// build builds every example with the race detector, where there is a C compiler
// for it.
func build(t *testing.T) (bin string) {
	t.Helper()
	sources, err := filepath.Glob("../examples/*/*.go")
	own, _ := filepath.Glob("testdata/*/main.go")
	sources = append(sources, own...)
	if err != nil || len(sources) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, source := range sources {
		if _, err := os.ReadFile(source); err != nil { // read also for the cache of go test
			t.Fatal(err)
		}
		name := filepath.Base(filepath.Dir(source))
		if !slices.Contains(applications, name) && !slices.ContainsFunc(examples, func(x *example) bool { return x.name == name }) {
			t.Errorf("the example %s is not in the table", name)
		}
	}
	bin = t.TempDir()
	for _, flags := range [][]string{{"-race"}, nil} {
		args := slices.Concat([]string{"build"}, flags, []string{"-o", bin + string(filepath.Separator), "../examples/...", "./testdata/auto", "./testdata/bridge", "./testdata/pool"})
		out, err := exec.Command("go", args...).CombinedOutput()
		if err == nil {
			return bin
		}
		if !slices.Contains(flags, "-race") || *needRace {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		t.Logf("without the race detector, since it cannot be built with it: %s", out)
	}
	return bin
}

// chaos lets random clients loose on one example.
func chaos(t *testing.T, x *example, path, listen string) {
	p := start(t, path, listen)
	addr := p.addr
	if *lossy {
		addr = strings.Replace(addr, linkNear, linkFar, 1)
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(x.name))
	count := &tally{runs: make([]atomic.Int64, len(behaviours)), longest: make([]atomic.Int64, len(behaviours))}
	newJob := func(n int64) *job {
		return &job{example: x, addr: addr, tally: count, rng: rand.New(rand.NewPCG(*seed, uint64(hash.Sum32())<<32|uint64(n)))}
	}

	// What the first requests allocate, all later ones use again.
	fds := p.descriptors()
	p.good(newJob)
	p.collect(newJob)
	before := p.usage()

	var next, failures atomic.Int64
	var clients sync.WaitGroup
	began := time.Now()
	for range *parallel {
		clients.Go(func() {
			for failures.Load() < failuresMax && p.alive() {
				n := next.Add(1) - 1
				if time.Since(began) > *duration && n >= int64(len(behaviours)) {
					return
				}
				if *only >= 0 {
					n = *only
				}
				j := newJob(n)
				which := kind(n)
				count.runs[which].Add(1)
				since := time.Now()
				err := behaviours[which].run(j)
				j.close()
				if d := int64(time.Since(since)); d > count.longest[which].Load() {
					count.longest[which].Store(d)
				}
				switch {
				case errors.Is(err, errSlow):
					count.slow.Add(1)
				case err != nil:
					failures.Add(1)
					t.Errorf("%s, job %d of seed %d: %v%s", behaviours[which].name, n, *seed, err, j.traffic())
				}
			}
		})
	}
	clients.Wait()

	// All have left.
	if !p.alive() {
		t.Fatal("the server is dead")
	}
	p.good(newJob)
	p.wantDescriptors(fds)
	p.collect(newJob)
	after := p.usage()
	if after.heap > before.heap+heapGrowthMiB {
		t.Errorf("live heap: %d MiB before, %d MiB after; want at most %d more", before.heap, after.heap, heapGrowthMiB)
	}
	if after.resident > before.resident+residentGrowthMiB {
		t.Errorf("resident memory: %d MiB before, %d MiB after; want at most %d more", before.resident, after.resident, residentGrowthMiB)
	}
	p.stop()

	var lines strings.Builder
	for i, b := range behaviours {
		n := count.runs[i].Load()
		fmt.Fprintf(&lines, "\n%8d %-24s longest %v", n, b.name, time.Duration(count.longest[i].Load()).Round(time.Millisecond))
		if n == 0 && *only < 0 {
			t.Errorf("%s never ran", b.name)
		}
	}
	jobs := next.Load()
	t.Logf("%s: %d jobs in %v: %d answers and %d refusals checked, %d interim, %d too slow; descriptors %d; live heap %d to %d MiB, resident %d to %d MiB%s",
		x.name, jobs, time.Since(began).Round(time.Millisecond), count.answers.Load(), count.refusals.Load(), count.interim.Load(), count.slow.Load(),
		fds, before.heap, after.heap, before.resident, after.resident, lines.String())
	if *only < 0 && (count.answers.Load() == 0 || count.refusals.Load() == 0 || count.interim.Load() == 0) {
		t.Error("something was never checked")
	}
	if slow := count.slow.Load(); slow > jobs/10 && slow > 3 {
		t.Errorf("%d of %d jobs were slower than the server's timeouts: too much for this machine, use fewer -clients", slow, jobs)
	}
}

// kind is the behaviour of job n: all have their turn, in a random order.
func kind(n int64) int {
	round := n / int64(len(behaviours))
	return rand.New(rand.NewPCG(*seed, uint64(round))).Perm(len(behaviours))[n%int64(len(behaviours))]
}

// close ends what the behaviour has left open.
func (j *job) close() {
	for _, c := range j.clients {
		if c.TCPConn != nil {
			_ = c.Close()
			c.writer.Wait()
		}
	}
}

// traffic shows the bytes of the last connection.
func (j *job) traffic() string {
	if len(j.clients) == 0 {
		return ""
	}
	c := j.clients[len(j.clients)-1]
	return fmt.Sprintf("\n%v after it was opened\nsent %d bytes, first %q\ncame last %q",
		time.Since(c.opened).Round(time.Millisecond), c.written.Load(), c.sent, c.got[max(0, len(c.got)-shownBytes):])
}
