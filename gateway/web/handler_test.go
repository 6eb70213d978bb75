package web_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/web"
)

func TestHandlerErrors(t *testing.T) {
	errTest := errors.New("of the test")
	for _, tt := range []struct {
		err  error
		code int // 0: passed on
		text string
		log  string
	}{
		{&web.StatusError{Status: 404}, 404, "Not Found\n", ""},
		{&web.StatusError{Status: 400, Text: "no such thing", Err: errTest}, 400, "no such thing\n", ""},
		{fmt.Errorf("wrapped: %w", &web.StatusError{Status: 409, Text: "taken"}), 409, "taken\n", ""},
		{&web.StatusError{Status: 503, Text: "later", Err: errTest}, 503, "later\n", "503 Service Unavailable: later: of the test"},
		{&web.StatusError{Status: 200, Err: errTest}, 0, "", ""},
		{&web.StatusError{Status: 600, Err: errTest}, 0, "", ""},
		{errTest, 0, "", ""},
	} {
		var log bytes.Buffer
		app := web.HandlerFunc(func(*web.Request) (*web.Response, error) { return nil, tt.err })
		got := gatewaytest.Call(app, gatewaytest.Request{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if tt.code == 0 {
			if !errors.Is(got.Err, errTest) || got.Code != 0 {
				t.Errorf("%v: %+v", tt.err, got)
			}
			continue
		}
		if got.Err != nil || got.Code != tt.code || got.Text() != tt.text {
			t.Errorf("%v: %+v", tt.err, got)
		}
		if !strings.Contains(log.String(), tt.log) || (tt.log == "") != (log.Len() == 0) {
			t.Errorf("%v: log %q", tt.err, log.String())
		}
	}
	nothing := web.HandlerFunc(func(*web.Request) (*web.Response, error) { return nil, nil })
	if got := gatewaytest.Get(nothing, "/"); got.Err == nil {
		t.Errorf("%+v", got)
	}
}

func TestOptionsCheck(t *testing.T) {
	for name, change := range map[string]func(*web.Options){
		"Fields":          func(o *web.Options) { o.Fields = 0 },
		"10000":           func(o *web.Options) { o.Fields = 10_001 },
		"FormBytes":       func(o *web.Options) { o.FormBytes = -1 },
		"FormParts":       func(o *web.Options) { o.FormParts = 0 },
		"FormValueBytes":  func(o *web.Options) { o.FormValueBytes = 0 },
		"FormMemoryBytes": func(o *web.Options) { o.FormMemoryBytes = 0 },
		"JSONBytes":       func(o *web.Options) { o.JSONBytes = 0 },
		"TempDir":         func(o *web.Options) { o.TempDir = filepath.Join(t.TempDir(), "none") },
		"Prefixes[0]":     func(o *web.Options) { o.Proxies.Prefixes = make([]netip.Prefix, 1) },
		"Fields[0]":       func(o *web.Options) { o.Proxies.Fields = []string{"X_Real_IP"} },
		"0.0.0.0/0":       func(o *web.Options) { o.Proxies.Prefixes = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} },
	} {
		o := web.DefaultOptions()
		if err := o.Check(); err != nil {
			t.Fatal(err)
		}
		change(&o)
		if app, err := web.NewApp(nil, o); err == nil || app != nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if app, err := web.NewApp(nil, web.DefaultOptions()); err == nil || app != nil {
		t.Error("a handler that is nil is taken")
	}
}
