package proxy

import (
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway/forwarded"
)

var (
	_ flag.Value = new(Balance)
	_ flag.Value = new(HostMode)
	_ flag.Value = new(ForwardMode)
)

func TestOptionsRefused(t *testing.T) {
	to := []string{"http://a"}
	for _, tt := range []struct {
		o    Options
		want string // parts of the error, separated by "|"
	}{
		{Options{}, "To is empty|http://127.0.0.1:9000"},
		{Options{To: []string{"127.0.0.1:9000"}}, `To has "127.0.0.1:9000"|use http://host:port`},
		{Options{To: []string{"localhost:9000"}}, "scheme"},
		{Options{To: []string{"ftp://a"}}, "scheme"},
		{Options{To: []string{"http://"}}, "no host"},
		{Options{To: []string{"http://u:p@a"}}, "user"},
		{Options{To: []string{"http://a:0"}}, "port"},
		{Options{To: []string{"http://a:65536"}}, "port"},
		{Options{To: []string{"http://a?b"}}, "query"},
		{Options{To: []string{"http://a#b"}}, "fragment"},
		{Options{To: []string{"http://a//b"}}, "prefix"},
		{Options{To: []string{"unix:run/a.sock"}}, "not absolute"},
		{Options{To: []string{"unix:/a.sock:b"}}, "prefix"},
		{Options{To: []string{"http://a", "http://a"}}, "twice"},
		{Options{To: to, ConnectTimeout: -1}, "ConnectTimeout is -1ns|positive"},
		{Options{To: to, UpstreamTimeout: -2}, "UpstreamTimeout|-1 for none"},
		{Options{To: to, TunnelTimeout: -2}, "TunnelTimeout|-1 for none"},
		{Options{To: to, FailTimeout: -1}, "FailTimeout"},
		{Options{To: to, HealthInterval: -1}, "HealthInterval"},
		{Options{To: to, Retries: -2}, "Retries is -2|-1 for none"},
		{Options{To: to, MaxFails: -2}, "MaxFails is -2"},
		{Options{To: to, Balance: 3}, "Balance is 3|least, hash, round_robin"},
		{Options{To: to, Host: 2}, "Host is 2|keep, upstream"},
		{Options{To: to, Forward: 3}, "Forward is 3|x-forwarded"},
		{Options{To: to, HealthPath: "health"}, `HealthPath is "health"`},
		{Options{To: to, HealthPath: "//health"}, "HealthPath"},
		{Options{To: to, HealthPath: "/a b"}, "HealthPath"},
		{Options{To: to, UpgradeTokens: []string{"h2c"}}, `UpgradeTokens has "h2c"`},
		{Options{To: to, UpgradeTokens: []string{"HTTP/2.0"}}, "UpgradeTokens"},
		{Options{To: to, UpgradeTokens: []string{"a b"}}, "UpgradeTokens"},
		{Options{To: to, UpgradeTokens: []string{""}}, "UpgradeTokens"},
		{Options{To: to, Trusted: forwarded.Proxies{Prefixes: []netip.Prefix{{}}}}, "Trusted"},
	} {
		app, err := New(tt.o)
		if checked := tt.o.Check(); fmt.Sprint(checked) != fmt.Sprint(err) {
			t.Errorf("Check returns %v, New %v", checked, err)
		}
		if err == nil {
			_ = app.Close()
			t.Errorf("%+v: no error; want %q", tt.o, tt.want)
			continue
		}
		for part := range strings.SplitSeq(tt.want, "|") {
			if !strings.Contains(err.Error(), part) || !strings.HasPrefix(err.Error(), "proxy: option ") {
				t.Errorf("%v; want %q in it", err, part)
			}
		}
	}
	for _, to := range []string{"http://a", "http://a:65535", "https://a:1/", "http://[::1]:80/base", "unix:/a.sock", "unix:/a.sock:/base", "unix:@name"} {
		app, err := New(Options{To: []string{to}, UpstreamTimeout: None, TunnelTimeout: None, Retries: None, MaxFails: None})
		if err != nil {
			t.Errorf("%s: %v", to, err)
			continue
		}
		_ = app.Close()
	}
}

func TestEnums(t *testing.T) {
	for _, v := range []flag.Value{new(Balance), new(HostMode), new(ForwardMode)} {
		if err := v.Set("nothing"); err == nil || !strings.Contains(err.Error(), `"nothing" is none of `) {
			t.Errorf("%T: %v", v, err)
		}
	}
	var b Balance
	if err := b.Set("ROUND_ROBIN"); err != nil || b != RoundRobin || b.String() != "round_robin" || Balance(9).String() != "9" {
		t.Errorf("%v, %v", b, err)
	}
	var h HostMode
	if err := h.Set("upstream"); err != nil || h != UpstreamHost || h.String() != "upstream" {
		t.Errorf("%v, %v", h, err)
	}
	var f ForwardMode
	if err := f.Set("forwarded"); err != nil || f != Forwarded || f.String() != "forwarded" {
		t.Errorf("%v, %v", f, err)
	}
}
