package main

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asProgram is the environment variable that makes this test binary the example.
const asProgram = "TEST_ISBJORN_STREAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// A program with an endless stream stops in order when it is told to: the client gets a whole
// answer, and nobody waits for StopTimeout.
func TestStopWithAStream(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts a program, and the stop of that takes a second")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-addr", "127.0.0.1:0", "-every", "10ms")
	cmd.Env = append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0") // no second at the end
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !ok {
		t.Fatalf("it says %q, %v", line, err)
	}
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		_, _ = io.Copy(io.Discard, lines)
	}()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	events := bufio.NewReader(resp.Body)
	for line := ""; !strings.HasPrefix(line, "data: "); {
		if line, err = events.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, events); err != nil {
		t.Errorf("the stream ends by %v, want its end in order", err)
	}
	<-printed
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) || err != nil {
		t.Errorf("it ends by %v, want status 0", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}
