package gunicorn

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

//go:embed shim.py
var shim string

const (
	pythonTimeout = 10 * time.Second
	answerMax     = 16 << 20 // bytes
	drainTime     = time.Second
)

// An answer is what the shim says.
type answer struct {
	Values []struct {
		Name, Kind, Text string
		Line             int
		Value            any
		Used, Imported   bool
	}
	Env   map[string]string // variables that the file has set
	Unset []string          // and removed
	Path  []string          // directories that it has added to sys.path, absolute
	Error string
	Line  int
}

// errNoPython is the error where there is no Python to ask.
var errNoPython = errors.New("there is no python3 to ask")

// pythonExe is the Python of VIRTUAL_ENV, or python3 of PATH.
func pythonExe() (string, error) {
	if env := os.Getenv("VIRTUAL_ENV"); env != "" {
		exe := filepath.Join(env, "bin", "python3")
		if _, err := os.Stat(exe); err == nil {
			return exe, nil
		}
	}
	exe, err := exec.LookPath("python3")
	if err != nil {
		return "", errNoPython
	}
	return exe, nil
}

// ask runs a configuration file in Python. The file may print, and may start processes: they are killed if the
// answer takes longer than timeout.
func ask(file string, timeout time.Duration) (*answer, error) {
	python, err := pythonExe()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, python, "-I", "-c", shim, file)
	cmd.ExtraFiles = []*os.File{w} // descriptor 3
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = drainTime // a process that it has left behind may hold standard error
	err = cmd.Start()
	w.Close()
	if err != nil {
		return nil, err
	}
	decoded := make(chan error, 1)
	got := new(answer)
	go func() {
		d := json.NewDecoder(&limited{r, answerMax})
		d.UseNumber()
		decoded <- d.Decode(got)
	}()
	errRun := cmd.Wait()
	r.SetReadDeadline(time.Now().Add(drainTime)) //nolint:errcheck // a pipe of Go's has deadlines
	switch err := <-decoded; {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("it runs for longer than %v", timeout)
	case err == nil:
		return got, nil
	case errRun == nil || stderr.Len() == 0:
		return nil, fmt.Errorf("%s gave no answer: %v", python, errors.Join(errRun, err))
	}
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	return nil, fmt.Errorf("%s: %s", python, lines[len(lines)-1])
}

// limited fails when more than left bytes are read, so that an answer has an end.
type limited struct {
	r    *os.File
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errors.New("the answer is too long")
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
