package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

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
		{[]string{"--log-access="}, "an empty text; leave the setting out"},
		{[]string{"--server-header= "}, "an empty text; leave the setting out"},
		{[]string{"--index="}, "an empty text; leave the setting out"},
		{[]string{"--listing", "false"}, `unexpected argument "false": one directory is served`},
	} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"static", dir, "-b", "127.0.0.1:0"}, c.args...)
		if status := execute(args, &stdout, &stderr); status == statusDone || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%v: status %d, %s; want %q", c.args, status, &stderr, c.want)
		}
	}
}
