//go:build linux

package main

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// server is one that can be measured.
type server struct {
	name string
	// module and program are what is built, or program is a command that is installed,
	// by the Debian package pkg.
	module, program string
	pkg             string
	// with are flags of go build, and variables for it, in place of plain.
	with string
	// command is what is run; dir is a directory for its files.
	command func(program, dir, cost string, port int) ([]string, error)
	// version has the path of the Go module whose version is told, or the flag that asks
	// the program.
	version string
}

// plain is how Go programs are built. All by the same means: the profile that the examples
// have would be an advantage over those that could have one as well.
const plain = "-pgo=off"

var servers = []server{
	{name: "isbjorn", module: ".", program: "./examples/hello", command: takesAddr},
	{name: "isbjorn-nethttp", module: ".", program: "./bench/bridge", command: bridge("isbjorn")},
	{name: "nethttp", module: ".", program: "./bench/nethttp", command: nethttp},
	{name: "fasthttp", module: "bench/peers", program: "./fasthttp", command: takesAddr, version: "github.com/valyala/fasthttp"},
	{name: "hertz", module: "bench/peers", program: "./hertz", command: takesAddr, version: "github.com/cloudwego/hertz"},
	{name: "nbio", module: "bench/peers", program: "./nbio", command: takesAddr, version: "github.com/lesismal/nbio"},
	{name: "gnet", module: "bench/peers", program: "./gnet", command: takesAddr, version: "github.com/panjf2000/gnet/v2"},
	{name: "nginx", program: "nginx", pkg: "nginx", command: nginx, version: "-v"},
	{name: "h2o", program: "h2o", pkg: "h2o", command: h2o, version: "--version"},
	{name: "floor", program: "cc", pkg: "gcc libc6-dev", command: floor, version: "--version"},
	{name: "isbjorn-pgo", module: ".", program: "./examples/hello", command: takesAddr, with: "-pgo=bench/server.pgo"},
	{name: "isbjorn-v3", module: ".", program: "./examples/hello", command: takesAddr, with: "-pgo=off GOAMD64=v3"},
	{name: "isbjorn-pgo-v3", module: ".", program: "./examples/hello", command: takesAddr, with: "-pgo=bench/server.pgo GOAMD64=v3"},
}

func takesAddr(program, _, _ string, port int) ([]string, error) {
	return []string{program, "-addr", fmt.Sprintf("127.0.0.1:%d", port)}, nil
}

// bridge is an http.Handler that costs something, served by by.
func bridge(by string) func(program, dir, cost string, port int) ([]string, error) {
	return func(program, dir, cost string, port int) ([]string, error) {
		command, err := takesAddr(program, dir, cost, port)
		command = append(command, "-server", by)
		if kind, d, ok := strings.Cut(cost, " "); ok {
			command = append(command, "-"+kind, d)
		}
		return command, err
	}
}

// nethttp is the program with nothing in it, or, where the handler costs, that which
// can have costs.
func nethttp(program, dir, cost string, port int) ([]string, error) {
	if cost == "" {
		return takesAddr(program, dir, cost, port)
	}
	return bridge("nethttp")(filepath.Join(filepath.Dir(program), "bridge"), dir, cost, port)
}

const text = "Hello, World!"

func nginx(program, dir, _ string, port int) ([]string, error) {
	conf := fmt.Sprintf(`daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr crit;
events { worker_connections 16384; }
http {
	access_log off;
	default_type text/plain;
	keepalive_requests 1000000000;
	keepalive_timeout 1h;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen 127.0.0.1:%[2]d backlog=4096;
		location / { return 200 %[3]q; }
	}
}
`, dir, port, text)
	file := filepath.Join(dir, "nginx.conf")
	return []string{program, "-p", dir, "-c", file}, os.WriteFile(file, []byte(conf), 0o644)
}

func h2o(program, dir, _ string, port int) ([]string, error) {
	conf := fmt.Sprintf(`listen: {host: 127.0.0.1, port: %d}
num-threads: 1
max-connections: 16384
http1-request-timeout: 3600
hosts:
  default:
    paths:
      /:
        file.dir: %[2]s/htdocs
        file.index: [hello.txt]
`, port, dir)
	if os.Getuid() == 0 {
		conf = "user: root\n" + conf // it would become a user that may not read the files
	}
	file := filepath.Join(dir, "h2o.conf")
	return []string{program, "-c", file}, errors.Join(
		os.MkdirAll(filepath.Join(dir, "htdocs"), 0o755),
		os.WriteFile(filepath.Join(dir, "htdocs", "hello.txt"), []byte(text), 0o644),
		os.WriteFile(file, []byte(conf), 0o644))
}

func floor(program, _, _ string, port int) ([]string, error) {
	return []string{program, fmt.Sprint(port)}, nil
}

// built is a server that can be started.
type built struct {
	*server
	path string // of its program
}

// build builds what the servers need, into dir. What cannot be had is in missing, with
// the reason; versions has the rest.
func build(
	ctx context.Context, root, dir string, wanted []*server, versions, missing map[string]string,
) (list []built, err error) {
	for _, s := range wanted {
		if s.module == "" || missing[s.name] != "" {
			continue
		}
		command := []string{"go", "build", "-C", filepath.Join(root, s.module), "-o", s.output(dir) + "/"}
		for _, word := range strings.Fields(cmp.Or(s.with, plain)) {
			if strings.HasPrefix(word, "-") {
				command = append(command, word)
			} else {
				command = slices.Insert(command, 0, word)
			}
		}
		command = append(command, s.program)
		if s.name == "nethttp" {
			command = append(command, "./bench/bridge") // where handlers cost
		}
		out, failed := run(ctx, "env", command...)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if failed != nil {
			missing[s.name] = fmt.Sprintf("go build -C %s %s: %v: %s", s.module, s.program, failed, lastLine(out))
		}
	}
	for _, s := range wanted {
		if missing[s.name] != "" {
			continue
		}
		b := built{s, filepath.Join(s.output(dir), filepath.Base(s.program))}
		switch {
		case s.module == ".":
			versions[s.name] = describe(ctx, root)
			if s.name == "nethttp" {
				versions[s.name] = runtime.Version()
			}
		case s.module != "":
			info, err := buildinfo.ReadFile(b.path)
			if err != nil {
				return nil, err
			}
			for _, m := range info.Deps {
				if m.Path == s.version {
					versions[s.name] = m.Version
				}
			}
		default:
			if b.path, err = exec.LookPath(s.program); err != nil {
				missing[s.name] = fmt.Sprintf("%s is not installed: apt-get install %s", s.program, s.pkg)
				continue
			}
			out, _ := run(ctx, b.path, s.version)
			versions[s.name] = firstLine(out)
			if s.name == "floor" {
				compiler := b.path
				b.path = filepath.Join(dir, "floor")
				if out, err := run(ctx, compiler, "-O2", "-o", b.path, filepath.Join(root, "bench/measure/epoll.c")); err != nil {
					missing[s.name] = fmt.Sprintf("cc -O2 bench/measure/epoll.c: %v: %s", err, lastLine(out))
					continue
				}
			}
		}
		list = append(list, b)
	}
	return list, nil
}

// output is the directory that the program is built into.
func (s *server) output(dir string) string {
	return filepath.Join(dir, strings.ReplaceAll(cmp.Or(s.with, plain), " ", ","))
}

// describe is the version of the sources.
func describe(ctx context.Context, root string) string {
	out, err := run(ctx, "git", "-C", root, "describe", "--always", "--dirty", "--tags")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(out)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
