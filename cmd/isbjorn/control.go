package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/isbjorn/isbjorn/internal/settings"
	"github.com/isbjorn/isbjorn/wsgi"
)

// An instance answers commands on a socket: a line of JSON each way, and the end. On Linux the socket is an abstract
// one, which has no file, so it works on a disk that is read-only and leaves nothing behind. Each side looks whether
// the other is of its user, or root.

const (
	controlTime  = 5 * time.Second // for a command to come, or an answer to be taken
	controlBytes = 4 << 10         // of a command
	controlMax   = 16              // commands at the same time
)

// controlCommand is what an instance is asked.
type controlCommand struct {
	Command string // status, reload, workers or stop
	Text    string // of workers: N, +N or -N
}

// controlAnswer is what it says.
type controlAnswer struct {
	Status int    // for the exit
	Error  string `json:",omitempty"`
	Text   string `json:",omitempty"` // for people
	State  *state `json:",omitempty"`
}

// state is what an instance is doing.
type state struct {
	PID     int               `json:"pid"`
	App     string            `json:"app"`
	Bind    []string          `json:"bind"`
	Since   time.Time         `json:"since"`
	Size    int               `json:"size"` // workers that there are to be
	Workers []wsgi.WorkerInfo `json:"workers"`
}

// controlName is that of a new socket.
func controlName() string {
	var b [2]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%s%d-%s", controlPrefix(os.Getuid()), os.Getpid(), hex.EncodeToString(b[:]))
}

func controlPrefix(uid int) string { return fmt.Sprintf("@isbjorn/%d/", uid) }

// controlled answers commands for p until end is called. A socket that cannot be made is a warning: all else works.
func (p *program) controlled() (end func()) {
	name := p.config.Text("control")
	switch {
	case name == "off" || name == "auto" && !abstractSockets:
		return func() {}
	case name == "auto":
		name = controlName()
	default:
		name = strings.TrimPrefix(name, "unix:")
	}
	l, err := listenControl(name)
	if err != nil {
		p.log.Warn("no control socket: isbjorn status, reload, workers and stop do not reach this process: " + err.Error())
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	places := make(chan struct{}, controlMax)
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			select {
			case places <- struct{}{}:
			default:
				_ = c.Close()
				continue
			}
			running.Go(func() {
				defer func() { _ = c.Close(); <-places }()
				p.answer(ctx, c)
			})
		}
	})
	return func() {
		cancel()
		_ = l.Close()
		running.Wait()
	}
}

// listenControl makes the socket. A file is for its owner alone, and one that was left behind is replaced.
func listenControl(name string) (net.Listener, error) {
	if !strings.HasPrefix(name, "@") {
		if c, err := net.Dial("unix", name); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("another process answers on %s", name)
		}
		if info, err := os.Lstat(name); err == nil && info.Mode().Type() == os.ModeSocket {
			_ = os.Remove(name)
		}
	}
	l, err := net.Listen("unix", name)
	if err == nil && !strings.HasPrefix(name, "@") {
		err = os.Chmod(name, 0o600)
	}
	return l, err
}

// answer reads one command and answers it.
func (p *program) answer(ctx context.Context, c net.Conn) {
	if err := allowed(c); err != nil {
		return
	}
	_ = c.SetDeadline(time.Now().Add(controlTime))
	line, err := bufio.NewReader(io.LimitReader(c, controlBytes)).ReadBytes('\n')
	var command controlCommand
	if err == nil {
		err = json.Unmarshal(line, &command)
	}
	a := controlAnswer{Status: statusUsage, Error: "no command of this version"}
	if err == nil {
		_ = c.SetDeadline(time.Time{})
		a = p.do(ctx, command)
	}
	b, err := json.Marshal(a)
	if err != nil {
		return
	}
	_ = c.SetDeadline(time.Now().Add(controlTime))
	_, _ = c.Write(append(b, '\n'))
}

// do does what a command says.
func (p *program) do(ctx context.Context, command controlCommand) controlAnswer {
	switch command.Command {
	case "status":
		return controlAnswer{State: p.state()}
	case "reload":
		if err := p.reload(ctx); err != nil {
			p.log.Error("reload failed; all goes on as before: " + err.Error())
			return controlAnswer{Status: reloadStatus(err), Error: err.Error()}
		}
		return controlAnswer{Text: fmt.Sprintf("reloaded: %d workers", p.app.Size())}
	case "workers":
		n, err := strconv.Atoi(command.Text)
		if err != nil {
			return controlAnswer{Status: statusUsage, Error: fmt.Sprintf("%q is no number of workers; use N, +N or -N", command.Text)}
		}
		if strings.HasPrefix(command.Text, "+") || n < 0 {
			n += p.app.Size()
		}
		if err := p.app.Scale(n); err != nil {
			return controlAnswer{Status: statusUsage, Error: strings.TrimPrefix(err.Error(), "wsgi: ")}
		}
		p.log.Info("workers, by the control socket", slog.Int("workers", n))
		return controlAnswer{Text: fmt.Sprintf("%d workers", n)}
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
		return controlAnswer{Text: "stopping"}
	}
	return controlAnswer{Status: statusUsage, Error: "no command of this version"}
}

// reloadStatus is the exit status for the error of a reload.
func reloadStatus(err error) int {
	var mistakes settings.Mistakes
	if errors.As(err, &mistakes) {
		return statusUsage
	}
	var start *wsgi.StartError
	if errors.As(err, &start) {
		return startStatus(err)
	}
	return statusFailed
}

func (p *program) state() *state {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &state{PID: os.Getpid(), App: p.config.Text("app"), Bind: p.config.List("bind"), Since: p.since,
		Size: p.app.Size(), Workers: p.app.Workers()}
}
