package apps

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testlog"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

type articleKey struct{}

// lines are a log without the stacks of panics.
type lines struct{ middleware.DefaultLogFormatter }

type line struct{ middleware.LogEntry }

func (l lines) NewLogEntry(r *http.Request) middleware.LogEntry {
	return line{l.DefaultLogFormatter.NewLogEntry(r)}
}

func (line) Panic(any, []byte) {}

// chiApp is a service of articles.
func chiApp(logged io.Writer) http.Handler {
	r := chi.NewRouter()
	r.Use(
		middleware.RequestID,
		middleware.ClientIPFromRemoteAddr,
		//lint:ignore SA1019 it is in many applications
		middleware.RealIP,
		middleware.RequestLogger(lines{middleware.DefaultLogFormatter{Logger: log.New(logged, "", 0), NoColor: true}}),
		middleware.Recoverer,
		middleware.Heartbeat("/ping"),
		middleware.GetHead,
		middleware.Compress(5, "text/plain", "application/json"),
	)
	r.NotFound(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no "+r.URL.Path, http.StatusNotFound) })
	r.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "not "+r.Method, http.StatusMethodNotAllowed)
	})
	r.Get("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "articles") })
	r.Get("/who", func(w http.ResponseWriter, r *http.Request) {
		addr, port, _ := strings.Cut(r.RemoteAddr, ":")
		fmt.Fprintln(w, middleware.GetReqID(r.Context()), middleware.GetClientIP(r.Context()), addr, port != "")
	})
	r.Route("/articles", func(r chi.Router) {
		r.Get("/{year:\\d{4}}-{month:\\d\\d}", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, chi.URLParam(r, "year"), "and", chi.URLParam(r, "month"))
		})
		r.With(middleware.AllowContentType("application/json")).Post("/", func(w http.ResponseWriter, r *http.Request) {
			var article struct{ Title string }
			if err := json.NewDecoder(r.Body).Decode(&article); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Location", "/articles/1")
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(article)
		})
		r.Route("/{id}", func(r chi.Router) {
			r.Use(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), articleKey{}, "article "+chi.URLParam(r, "id"))))
				})
			})
			r.Get("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.Context().Value(articleKey{})) })
			r.Delete("/", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
		})
	})
	admin := chi.NewRouter()
	admin.Use(middleware.BasicAuth("admin", map[string]string{"ada": "secret"}), middleware.NoCache)
	admin.Get("/*", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "admin of", chi.URLParam(r, "*")) })
	r.Mount("/admin", admin)
	r.Get("/large", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, large)
	})
	r.Get("/parts", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for i := range 3 {
			fmt.Fprintln(w, "part", i)
			w.(http.Flusher).Flush()
		}
	})
	r.With(middleware.Timeout(time.Millisecond)).Get("/slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	r.With(middleware.RequestSize(10)).Post("/small", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%q %v\n", b, err)
	})
	r.Get("/panic", func(http.ResponseWriter, *http.Request) { panic("broken") })
	return r
}

func TestChi(t *testing.T) {
	same(t, only(chiApp(io.Discard)), []request{
		{target: "/"},
		{method: "HEAD", target: "/"},
		{target: "/ping"},
		{target: "/who", header: "X-Request-Id: mine"},
		{name: "RealIP", target: "/who", header: "X-Request-Id: mine\nX-Forwarded-For: 192.0.2.7, 10.0.0.1"},
		{target: "/articles/2024-05"},
		{target: "/articles/a%2Fb?x=y"},
		{target: "/articles/caf%C3%A9"},
		{method: "DELETE", target: "/articles/5"},
		{method: "POST", target: "/articles/", header: "Content-Type: application/json", body: `{"title":"of bears"}`},
		{name: "bad JSON", method: "POST", target: "/articles/", header: "Content-Type: application/json", body: `{"title"`},
		{name: "not JSON", method: "POST", target: "/articles/", header: "Content-Type: text/plain", body: "x"},
		{name: "not found", target: "/none/of/it"},
		{name: "not allowed", method: "PUT", target: "/articles/5", body: "x"},
		{name: "OPTIONS", method: "OPTIONS", target: "/articles/5"},
		{name: "unauthorized", target: "/admin/x/y"},
		{name: "authorized", target: "/admin/x/y", header: "Authorization: Basic YWRhOnNlY3JldA=="},
		{target: "/large"},
		{name: "large, compressed", target: "/large", header: "Accept-Encoding: gzip"},
		{name: "small, compressed", target: "/articles/5/", header: "Accept-Encoding: gzip, deflate"},
		{name: "HEAD, compressed", method: "HEAD", target: "/large", header: "Accept-Encoding: gzip"},
		{target: "/parts"},
		{name: "parts, compressed", target: "/parts", header: "Accept-Encoding: gzip"},
		{name: "timeout", target: "/slow"},
		{name: "as large as it may be", method: "POST", target: "/small", body: "0123456789"},
		{name: "larger", method: "POST", target: "/small", body: "0123456789a"},
		{name: "panic", target: "/panic"},
	})
}

// The lines that the middleware logs are the same, too.
func TestChiLog(t *testing.T) {
	var logs []string
	for _, server := range servers {
		var log testlog.Buffer
		s := server.serve(t, chiApp(&log))
		for _, target := range []string{"/", "/large", "/none", "/slow"} {
			s.do(&request{target: target, header: "X-Request-Id: r" + target})
		}
		s.do(&request{method: "POST", target: "/articles/", header: "Content-Type: application/json\nX-Request-Id: p", body: `{}`})
		logs = append(logs, scrub(log.String(), `127\.0\.0\.1:\d+|in \S+`))
	}
	for i, log := range logs {
		if log != logs[0] || strings.Count(log, "\n") != 5 {
			t.Errorf("%s:\n%s\nnet/http:\n%s", servers[i].name, log, logs[0])
		}
	}
}

// What is flushed through the compressor can be read before the next is made.
func TestCompressedParts(t *testing.T) {
	next := make(chan int)
	r := chi.NewRouter()
	r.Use(middleware.Compress(5, "text/plain"))
	r.Get("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for range 3 {
			select {
			case i := <-next:
				fmt.Fprintln(w, "part", i)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	onEach(t, only(r), func(t *testing.T, s *site) {
		go func() { next <- 0 }()
		q, _ := http.NewRequest("GET", s.url("/"), nil)
		q.Header.Set("Accept-Encoding", "gzip")
		resp, err := s.client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		z, err := gzip.NewReader(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if i > 0 {
				give(t, "a part", next, i)
			}
			var got int
			if _, err := fmt.Fscanf(z, "part %d\n", &got); err != nil || got != i {
				t.Fatal(got, err)
			}
		}
	})
}
