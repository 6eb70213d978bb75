package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

// What cannot be printed is an error. A reader that has enough is none worth a line.
func TestOutputFull(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("%v", err)
	}
	defer full.Close()
	read, gone, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	read.Close()
	for _, args := range []string{"--help", "static --help", "static --help-all", "static --print-config", "static . --print-config", "--version", "version",
		"help idle_timeout", "completion bash", "completion zsh", "check static . -b 127.0.0.1:0", "check --json static . -b 127.0.0.1:0",
		"check --print-config static .", "systemd static .", "convert -- gunicorn shop:app"} {
		for stdout, want := range map[*os.File]string{full: "no space left on device\n", gone: ""} {
			cmd := command(t, t.TempDir(), nil, strings.Fields(args)...)
			var stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = stdout, &stderr
			_ = cmd.Run()
			if cmd.ProcessState.ExitCode() != statusFailed || !strings.HasSuffix(stderr.String(), want) || want == "" && stderr.Len() > 0 {
				t.Errorf("%s: %v %s; want %q", args, cmd.ProcessState, &stderr, want)
			}
		}
	}
}

// The first line of an access log that cannot be written is said within a second, and the rest at the end.
func TestAccessLogFull(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "starts processes")
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skipf("%v", err)
	}
	r := start(t, t.TempDir(), nil, "static", ".", "-b", "127.0.0.1:0", "--log-access", "/dev/full", "--listing")
	const line = `msg="lines of the access log were dropped`
	get(t, r.url)
	for deadline := time.Now().Add(waitTime); !strings.Contains(r.stderr.String(), line); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no line about it: %s", r.stderr)
		}
	}
	get(t, r.url)
	r.stop(t)
	if n := strings.Count(r.stderr.String(), line); n != 2 {
		t.Errorf("%d lines about it: %s", n, r.stderr)
	}
}

// Pipes without a peer, empty values and further arguments are refused, and nothing waits.
func TestRefusedAtOnce(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo.toml")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-c", fifo}, "not a regular file"},
		{[]string{"--tls-cert", fifo, "--tls-key", fifo}, "not a regular file"},
		{[]string{"--log-access", fifo}, "log.access (flag --log-access): no program reads the pipe"},
		{[]string{"--log-file", fifo}, "log.file (flag --log-file): no program reads the pipe"},
		{[]string{"--log-access="}, "must not be empty; leave the setting out"},
		{[]string{"--server-header= "}, "must not be empty; leave the setting out"},
		{[]string{"--index="}, "must not be empty; leave the setting out"},
		{[]string{"--listing", "false"}, `unexpected argument "false": one directory is served`},
	} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"static", dir, "-b", "127.0.0.1:0"}, c.args...)
		if status := execute(args, &stdout, &stderr); status == statusDone || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%v: status %d, %s; want %q", c.args, status, &stderr, c.want)
		}
	}
}
