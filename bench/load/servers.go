//go:build linux

package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// server is one that can be measured.
type server struct {
	name string
	// module and program are what is built, or program is a command that is installed,
	// by the Debian package pkg.
	module, program string
	pkg             string
	// command is what is run; dir is a directory for its files.
	command func(program, dir, cost string, port int) ([]string, error)
	// version has the path of the Go module whose version is told, or the flag that asks
	// the program.
	version string
}

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
		conf = "user: root\n" + conf // it would become somebody who may not read the files
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
func build(ctx context.Context, root, dir string, wanted []*server, versions, missing map[string]string) (list []built, err error) {
	for _, module := range []string{".", "bench/peers"} {
		var programs []string
		for _, s := range wanted {
			if s.module == module {
				programs = append(programs, s.program)
			}
		}
		if len(programs) == 0 {
			continue
		}
		if module == "." {
			programs = append(programs, "./bench/bridge") // nethttp may need it
		}
		out, failed := run(ctx, "go", append([]string{"build", "-C", filepath.Join(root, module), "-o", dir + "/"}, programs...)...)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if failed != nil {
			for _, s := range wanted {
				if s.module == module {
					missing[s.name] = fmt.Sprintf("go build -C %s %s: %v: %s", module, s.program, failed, lastLine(out))
				}
			}
		}
	}
	for _, s := range wanted {
		if missing[s.name] != "" {
			continue
		}
		b := built{s, filepath.Join(dir, filepath.Base(s.program))}
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
