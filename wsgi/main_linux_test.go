package wsgi_test

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

func TestMain(m *testing.M) {
	testrun.Together(6) // most wait for a process
	goleak.VerifyTestMain(leftovers{m})
}

// leftovers are tests after which no descriptor and no process is there that was not there before.
type leftovers struct{ *testing.M }

func (m leftovers) Run() int {
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil { // the descriptors of Go's own poller are there from now on
		_ = l.Close()
	}
	before := descriptors()
	status := m.M.Run()
	var left []string
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left = children()
		for fd, what := range descriptors() {
			if before[fd] == "" {
				left = append(left, fd+" "+what)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			break
		}
	}
	if len(left) > 0 && status == 0 {
		fmt.Fprintf(os.Stderr, "after the tests there are still: %s\n", strings.Join(left, ", "))
		status = 1
	}
	return status
}

// descriptors are those of this process, with what they are.
func descriptors() map[string]string {
	open := map[string]string{}
	names, _ := filepath.Glob("/proc/self/fd/*")
	for _, name := range names {
		if what, err := os.Readlink(name); err == nil { // not that of Glob itself
			open[filepath.Base(name)] = what
		}
	}
	return open
}

// children are the processes that this one has started and that are there.
func children() []string {
	pids := map[string]bool{}
	names, _ := filepath.Glob("/proc/self/task/*/children")
	for _, name := range names {
		b, _ := os.ReadFile(name)
		for _, pid := range strings.Fields(string(b)) {
			pids["process "+pid] = true
		}
	}
	return slices.Sorted(maps.Keys(pids))
}
