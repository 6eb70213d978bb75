package apps

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"expvar"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/cors"
)

const changed = "Fri, 17 May 2024 09:30:00 GMT"

func TestFileServer(t *testing.T) {
	dir := tree(t, map[string]string{
		"small.txt": "a small file\n", "large.txt": large, "large.unknown": strings.Repeat("<html>", 4000), "empty.txt": "",
		"sub/index.html": "<p>index", "page.html": "<p>page", "with space & <b>.txt": "x", "list/a.txt": "", "list/b.txt": "",
	})
	same(t, only(http.FileServer(http.Dir(dir))), []request{
		{target: "/small.txt"},
		{target: "/large.txt"},
		{method: "HEAD", target: "/large.txt"},
		{target: "/large.unknown"},
		{method: "HEAD", target: "/large.unknown"},
		{target: "/empty.txt"},
		{target: "/page.html"},
		{target: "/with%20space%20&%20%3Cb%3E.txt"},
		{target: "/"},
		{target: "/list/"},
		{method: "HEAD", target: "/list/"},
		{target: "/sub/"},
		{target: "/sub"},
		{target: "/sub/index.html"},
		{target: "/small.txt/"},
		{target: "/none"},
		{method: "HEAD", target: "/none"},
		{target: "/../../etc/passwd"},
		{target: "/%2e%2e/small.txt"},
		{target: "/sub%00"},
		{method: "POST", target: "/small.txt", body: "x"},
		{name: "range", target: "/large.txt", header: "Range: bytes=100-49999"},
		{name: "range, HEAD", method: "HEAD", target: "/large.txt", header: "Range: bytes=100-49999"},
		{name: "range of the end", target: "/large.txt", header: "Range: bytes=-7"},
		{name: "range to the end", target: "/large.txt", header: "Range: bytes=300000-"},
		{name: "ranges", target: "/large.txt", header: "Range: bytes=0-4,10-14,-3", varies: "[0-9a-f]{60}"},
		{name: "ranges, HEAD", method: "HEAD", target: "/large.txt", header: "Range: bytes=0-4,10-14", varies: "[0-9a-f]{60}"},
		{name: "range that is not there", target: "/small.txt", header: "Range: bytes=1000-"},
		{name: "range that is none", target: "/small.txt", header: "Range: bytes=x"},
		{name: "If-Range", target: "/large.txt", header: "Range: bytes=5-9\nIf-Range: " + changed},
		{name: "If-Range of another", target: "/large.txt", header: "Range: bytes=5-9\nIf-Range: Sat, 18 May 2024 09:30:00 GMT"},
		{name: "not modified", target: "/large.txt", header: "If-Modified-Since: " + changed},
		{name: "not modified, HEAD", method: "HEAD", target: "/large.txt", header: "If-Modified-Since: " + changed},
		{name: "modified", target: "/small.txt", header: "If-Modified-Since: Thu, 16 May 2024 09:30:00 GMT"},
		{name: "precondition failed", target: "/small.txt", header: "If-Unmodified-Since: Thu, 16 May 2024 09:30:00 GMT"},
	})
}

// A file system that is no directory, and content with an entity tag.
func TestServeContent(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("GET /fs/", http.StripPrefix("/fs", http.FileServerFS(fstest.MapFS{
		"a.txt": {Data: []byte(large)}, "d/index.html": {Data: []byte("<p>index")},
	})))
	mux.HandleFunc("/content", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(w, r, "a.css", time.Time{}, strings.NewReader(large))
	})
	same(t, only(mux), []request{
		{target: "/fs/a.txt"},
		{target: "/fs/d/"},
		{target: "/fs/"},
		{target: "/fs"},
		{method: "POST", target: "/fs/a.txt", body: "x"},
		{target: "/content"},
		{name: "not modified", target: "/content", header: `If-None-Match: "zero", "one"`},
		{name: "modified", target: "/content", header: `If-None-Match: "zero"`},
		{name: "If-Match", method: "PUT", target: "/content", header: `If-Match: "zero"`, body: "x"},
		{name: "range", target: "/content", header: "Range: bytes=100-199\nIf-Range: \"one\""},
	})
}

func TestServeMux(t *testing.T) {
	mux := http.NewServeMux()
	show := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, r.Pattern, r.PathValue("id"), r.PathValue("rest"), r.URL.Path, r.URL.RawPath, r.Host)
	}
	mux.HandleFunc("GET /items/{id}", show)
	mux.HandleFunc("GET /items/new", show)
	mux.HandleFunc("DELETE /items/{id}", show)
	mux.HandleFunc("/tree/{rest...}", show)
	mux.HandleFunc("/exact/{$}", show)
	mux.HandleFunc("example.com/host", show)
	mux.Handle("/limit", http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		fmt.Fprintln(w, len(b), err)
	}), 1000))
	mux.Handle("/late", http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), time.Millisecond, "late"))
	mux.Handle("/time", http.TimeoutHandler(http.HandlerFunc(show), time.Minute, "late"))
	same(t, only(mux), []request{
		{target: "/items/5"},
		{method: "HEAD", target: "/items/5"},
		{target: "/items/new"},
		{target: "/items/a%2Fb"},
		{method: "DELETE", target: "/items/5"},
		{method: "PATCH", target: "/items/5", body: "x"},
		{target: "/tree/a/b/"},
		{target: "/tree"},
		{target: "/tree/../items/5"},
		{target: "//items//5"},
		{target: "/exact/"},
		{target: "/exact/x"},
		{target: "/host"},
		{target: "/none"},
		{name: "as much as may be", method: "POST", target: "/limit", body: large[:1000]},
		{target: "/late"},
		{target: "/time"},
	})
}

func TestGorillaMuxAndCORS(t *testing.T) {
	r := mux.NewRouter()
	r.Use(mux.CORSMethodMiddleware(r))
	show := func(w http.ResponseWriter, r *http.Request) {
		route, _ := mux.CurrentRoute(r).GetPathTemplate()
		w.Header().Set("X-Route", route)
		fmt.Fprintln(w, mux.Vars(r), r.Method)
	}
	r.HandleFunc("/books/{title:[a-z]+}/{page:[0-9]+}", show).Methods("GET", "HEAD", "OPTIONS")
	r.HandleFunc("/query", show).Queries("q", "{q}")
	r.HandleFunc("/typed", show).Headers("X-Type", "a").Methods("POST")
	r.PathPrefix("/sub/").Subrouter().StrictSlash(true).HandleFunc("/leaf/", show)
	r.Host("{name}.example.com").Path("/by/host").HandlerFunc(show)
	app := cors.New(cors.Options{AllowedOrigins: []string{"https://*.example.com"}, AllowedMethods: []string{"GET", "PUT"}, AllowedHeaders: []string{"X-Key"}, ExposedHeaders: []string{"X-Route"}, AllowCredentials: true, MaxAge: 60}).Handler(r)
	same(t, only(app), []request{
		{target: "/books/go/12"},
		{method: "HEAD", target: "/books/go/12"},
		{name: "OPTIONS", method: "OPTIONS", target: "/books/go/12"},
		{method: "POST", target: "/books/go/12", body: "x"},
		{target: "/books/go/twelve"},
		{target: "/query?q=a%20b"},
		{target: "/query"},
		{name: "by field", method: "POST", target: "/typed", header: "X-Type: a", body: "x"},
		{target: "/sub/leaf/"},
		{target: "/sub/leaf"},
		{target: "/a/../books/go/1"},
		{name: "origin", target: "/books/go/12", header: "Origin: https://a.example.com"},
		{name: "origin of another", target: "/books/go/12", header: "Origin: https://a.example.org"},
		{name: "preflight", method: "OPTIONS", target: "/books/go/12", header: "Origin: https://a.example.com\nAccess-Control-Request-Method: PUT\nAccess-Control-Request-Headers: x-key"},
		{name: "preflight refused", method: "OPTIONS", target: "/books/go/12", header: "Origin: https://a.example.com\nAccess-Control-Request-Method: DELETE"},
	})
}

// metered has metrics of itself.
func metered(testing.TB) http.Handler {
	reg := prometheus.NewRegistry()
	total := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests_total", Help: "Requests."}, []string{"code", "method"})
	size := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "response_bytes", Help: "Content.", Buckets: prometheus.ExponentialBuckets(1, 10, 6)}, nil)
	received := prometheus.NewSummaryVec(prometheus.SummaryOpts{Name: "request_bytes_total", Help: "Requests."}, []string{"code"})
	busy := prometheus.NewGauge(prometheus.GaugeOpts{Name: "busy", Help: "At work."})
	reg.MustRegister(total, size, received, busy)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.InstrumentMetricHandler(reg, promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true})))
	mux.Handle("/", promhttp.InstrumentHandlerInFlight(busy, promhttp.InstrumentHandlerCounter(total,
		promhttp.InstrumentHandlerResponseSize(size, promhttp.InstrumentHandlerRequestSize(received, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				http.NotFound(w, r)
				return
			}
			_, _ = io.WriteString(w, large)
			w.(http.Flusher).Flush()
		}))))))
	return mux
}

func TestPrometheus(t *testing.T) {
	ours, theirs := byIsbjorn(t, metered(t)), byNetHTTP(t, metered(t))
	for _, q := range []request{
		{target: "/"}, {method: "HEAD", target: "/"}, {target: "/none"}, {method: "POST", target: "/", body: "0123456789"},
		{target: "/metrics"},
		{name: "compressed", target: "/metrics", header: "Accept-Encoding: gzip"},
		{name: "OpenMetrics", target: "/metrics", header: "Accept: application/openmetrics-text; version=1.0.0", varies: `_created \S+\\n`},
	} {
		// The last of a request's metrics may be counted when its answer has come.
		deadline := time.Now().Add(patience)
		got, want := ours.do(&q), theirs.do(&q)
		for q.target == "/metrics" && !got.as(want) && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
			got, want = ours.do(&q), theirs.do(&q)
		}
		if !got.as(want) {
			t.Errorf("%v:\n%.3000v\n\nnet/http:\n%.3000v", &q, got, want)
		}
	}
}

var requests = expvar.NewInt("requests")

// observed is what runs beside the applications of many.
func observed() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.Handle("/debug/vars", expvar.Handler())
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { requests.Add(1) })
	return mux
}

// What a process says of itself is never the same; that it is whole is.
func TestPprofAndExpvar(t *testing.T) {
	type look struct {
		status, kind, disposition string
		close                     bool
		shape                     string
	}
	zipped := func(content []byte) string {
		z, err := gzip.NewReader(bytes.NewReader(content))
		if err != nil {
			return err.Error()
		}
		n, err := io.Copy(io.Discard, z)
		return fmt.Sprint(n > 0, err)
	}
	begins := func(text string) func([]byte) string {
		return func(content []byte) string { return fmt.Sprint(bytes.HasPrefix(content, []byte(text))) }
	}
	whole := func(content []byte) string { return string(content) }
	for target, shape := range map[string]func([]byte) string{
		"/debug/pprof/":                    begins("<html>"),
		"/debug/pprof/cmdline":             whole,
		"/debug/pprof/symbol":              whole,
		"/debug/pprof/symbol?0x1":          whole,
		"/debug/pprof/none":                whole,
		"/debug/pprof/heap":                zipped,
		"/debug/pprof/heap?debug=1":        begins("heap profile: "),
		"/debug/pprof/goroutine?debug=2":   begins("goroutine "),
		"/debug/pprof/profile?seconds=1":   zipped,
		"/debug/pprof/trace?seconds=0.01":  begins("go 1."),
		"/debug/pprof/threadcreate":        zipped,
		"/debug/pprof/heap?seconds=x":      whole,
		"/debug/pprof/goroutine?seconds=x": whole,
		"/debug/vars": func(content []byte) string {
			var vars map[string]any
			err := json.Unmarshal(content, &vars)
			return fmt.Sprint(slices.Sorted(maps.Keys(vars)), err)
		},
	} {
		var looks []look
		for _, server := range servers {
			s := server.serve(t, observed())
			resp, err := s.client.Get(s.url(target))
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil {
				t.Error(err)
			}
			looks = append(looks, look{resp.Status, resp.Header.Get("Content-Type"), resp.Header.Get("Content-Disposition"), resp.Close, shape(content)})
		}
		for i, look := range looks {
			if look != looks[0] || look.shape == "false" {
				t.Errorf("%s: %s %+v, net/http %+v", target, servers[i].name, look, looks[0])
			}
		}
	}
}

// An audit that is written behind the answer: what a handler keeps of a request stays
// what it was, while the server has others.
func TestKeptRequest(t *testing.T) {
	const most = 200
	kept := make(chan *http.Request, most)
	app := only(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		kept <- r
		w.WriteHeader(http.StatusNoContent)
	}))
	onEach(t, app, func(t *testing.T, s *site) {
		for i := range most {
			s.do(&request{method: "PUT", target: fmt.Sprintf("/audit/%04d?n=%04d", i, i), header: fmt.Sprintf("Expect: 100-continue\nX-Number: %04d", i), body: "content"})
		}
		for i := range most {
			r, n := wait(t, "a request", kept), fmt.Sprintf("%04d", i)
			if r.Method != "PUT" || r.URL.Path != "/audit/"+n || r.FormValue("n") != n || r.Header.Get("X-Number") != n || r.Host != "example.com" {
				t.Fatalf("request %s is now %s %s %v %s", n, r.Method, r.URL, r.Header, r.Host)
			}
		}
	})
}
