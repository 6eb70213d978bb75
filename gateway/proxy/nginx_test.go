package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/isbjorn/isbjorn/internal/testlog"
)

// startNginx runs nginx with the directives of an http block, on a Unix socket, until the test ends. It returns the
// option To, and the directory of nginx.
func startNginx(t *testing.T, directives string) (to, dir string, cmd *exec.Cmd) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts nginx")
	}
	path, err := exec.LookPath("nginx")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			t.Skip("needs nginx: apt-get install nginx-light")
		}
	}
	dir, err = os.MkdirTemp("", "nginx") // a short path, for the socket
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	conf := fmt.Sprintf(`daemon off; master_process on; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 200; }
http {
	access_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi; default_type text/plain;
	server { listen unix:%[2]s; root %[1]s; %[3]s }
}
`, dir, socket, directives)
	if os.Getuid() == 0 {
		conf = "user root;\n" + conf
	}
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var log testlog.Buffer
	cmd = exec.Command(path, "-p", dir, "-c", filepath.Join(dir, "conf"))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	})
	eventually(t, "nginx serves", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return "unix:" + socket, dir, cmd
}

// nginx as the upstream: what it sends reaches the client as nginx sent it.
func TestNginx(t *testing.T) {
	t.Parallel()
	to, dir, _ := startNginx(t, `
		location = /echo { return 200 "$request_method|$request_uri|$http_host|$http_x_forwarded_for|$http_connection|$http_via"; }
		location = /hidden { return 403; }
		location = /many { keepalive_requests 1; return 200 ok; }`)
	content := strings.Repeat("0123456789", 100_000)
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	p := serve(t, Options{To: []string{to}})
	p.want(t, get("/echo?a=%2F&b;c"), 200, "GET|/echo?a=%2F&b;c|h.example|127.0.0.1||1.1 "+p.pseudonym)
	a := p.want(t, get("/file"), 200, content)
	if a.Header.Get("ETag") == "" || a.Header.Get("Server") == "" || a.ContentLength != int64(len(content)) {
		t.Errorf("%v", a.Header)
	}
	p.want(t, get("/file", "If-None-Match: "+a.Header.Get("ETag")), 304, "")
	p.want(t, get("/file", "Range: bytes=3-5"), 206, "345")
	p.want(t, "HEAD /file HTTP/1.1\r\nHost: h\r\n\r\n", 200, "")
	p.want(t, "GET /file HTTP/1.0\r\n\r\n", 200, content)
	for target, status := range map[string]int{"/hidden": 403, "/none": 404, "/%00": 400} {
		if a := p.ask(t, get(target)); a.StatusCode != status || a.err != nil {
			t.Errorf("%s: %d, %v", target, a.StatusCode, a.err)
		}
	}
	if a := p.ask(t, post("content")); a.StatusCode != 404 && a.StatusCode != 405 {
		t.Errorf("POST: %d", a.StatusCode)
	}
	var wg sync.WaitGroup
	for range 8 { // each answer is the last of its connection
		wg.Go(func() {
			for range 50 {
				p.want(t, get("/many"), 200, "ok")
			}
		})
	}
	wg.Wait()
	if got := p.Upstreams()[0]; got.Failures != 0 || got.InFlight != 0 {
		t.Errorf("%+v, log:\n%s", got, p.log.String())
	}
}

// A reload of nginx under load, which closes kept connections, fails no GET.
func TestNginxReloads(t *testing.T) {
	t.Parallel()
	to, _, cmd := startNginx(t, "location / { return 200 ok; }")
	p := serve(t, Options{To: []string{to}})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			conns := &http.Transport{}
			defer conns.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := (&http.Client{Transport: conns}).Get("http://" + p.addr + "/")
				if err != nil {
					t.Error(err)
					return
				}
				b, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != 200 || string(b) != "ok" {
					t.Errorf("%d %q", resp.StatusCode, b)
				}
			}
		})
	}
	for range 5 {
		n := p.Upstreams()[0].Requests
		eventually(t, "requests", func() bool { return p.Upstreams()[0].Requests > n+100 })
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	if got := p.Upstreams()[0]; got.Failures != 0 {
		t.Errorf("%+v, log:\n%s", got, p.log.String())
	}
}
