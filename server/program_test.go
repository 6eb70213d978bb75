package server

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// programFile is the environment variable that makes this test binary a program
// like the examples. It names a file that says how the next process is to be:
// "LOOPS START-TIME CONDUCT".
const programFile = "TEST_ISBJORN_PROGRAM"

// bind is the environment variable that has the addresses of the option Bind.
const bind = "TEST_ISBJORN_BIND"

// withoutTLS is the environment variable that makes the program one without EnableTLS.
const withoutTLS = "TEST_ISBJORN_WITHOUT_TLS"

// newRoot is the environment variable that has the directory which is the root of a
// program, by chroot(2).
const newRoot = "TEST_ISBJORN_ROOT"

// What a program may do when it is started.
const (
	serves   = "serves"
	crashes  = "crashes"
	hangs    = "hangs"
	orphaned = "orphaned" // it says "begun", and serves when its parent has died
)

func programMain() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(4) // the test is over
	}()
	b, err := os.ReadFile(os.Getenv(programFile))
	if err != nil {
		panic(err)
	}
	var loops int
	var start, conduct string
	if _, err := fmt.Sscan(string(b), &loops, &start, &conduct); err != nil {
		panic(err)
	}
	if startTime, err = time.ParseDuration(start); err != nil {
		panic(err)
	}
	switch conduct {
	case crashes:
		os.Exit(3)
	case hangs:
		time.Sleep(time.Hour) // until it is killed
	}
	if root := os.Getenv(newRoot); root != "" {
		if err := errors.Join(syscall.Chroot(root), os.Chdir("/")); err != nil {
			panic(err)
		}
	}
	Flags()
	flag.Parse() // this test binary has flags
	configured := 0
	Main(appFunc(program), Options{Loops: loops, BodyBytes: 64 << 20, Bind: strings.Fields(os.Getenv(bind)), tune: func(*config) {
		if configured++; conduct != orphaned || configured < 2 { // first by Check, then by New: with the old process's files
			return
		}
		parent := os.Getppid() // it has printed what it hands over
		if err := os.WriteFile(os.Getenv(programFile), []byte("begun"), 0o600); err != nil {
			panic(err)
		}
		for os.Getppid() == parent {
			time.Sleep(time.Millisecond)
		}
	}})
}

// bigBytes is the size of /big: more than all buffers between application and client hold.
const bigBytes = 8 << 20

// program answers GET /pid, GET /print, GET /environment, GET /big, GET /echo by taking the
// connection over, and POST with its own content. Every answer has the field Pid.
func program(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	pid := strconv.Itoa(os.Getpid())
	if _, err := start("200 OK", []gateway.Header{{Name: "Pid", Value: pid}}, nil); err != nil {
		return nil, err
	}
	switch env.Path() {
	case "/pid":
		return env.Text(pid), nil
	case "/print": // as an access log does
		fmt.Println("printed")
		fmt.Fprintln(os.Stderr, "printed")
		return env.Text(pid), nil
	case "/echo":
		conn, rest, err := env.Hijack()
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		_, _ = conn.Write(rest)
		_, _ = io.Copy(conn, conn)
		return nil, nil
	case "/environment":
		var names []string
		for _, variable := range os.Environ() {
			name, _, _ := strings.Cut(variable, "=")
			if strings.HasPrefix(name, "LISTEN_") || strings.HasPrefix(name, "TABLEFLIP") {
				names = append(names, name)
			}
		}
		return env.Text(strings.Join(names, " ")), nil
	case "/big":
		const piece = 64 << 10
		chunk := []byte(pattern(piece))
		return gateway.Stream(func(yield func([]byte, error) bool) {
			for n := 0; n < bigBytes && yield(chunk, nil); n += piece {
			}
		}), nil
	}
	return env.Input().Body(), nil
}
