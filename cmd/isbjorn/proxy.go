package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isbjorn/isbjorn/gateway/proxy"
	"github.com/isbjorn/isbjorn/internal/settings"
	"github.com/isbjorn/isbjorn/server"
)

func newProxy() *cobra.Command {
	in := &input{command: settings.Proxy}
	cmd := &cobra.Command{
		Use:   "proxy [flags] URL...",
		Short: "stand in front of HTTP servers",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			in.arguments(args)
			return in.run(cmd, runProxy)
		},
	}
	in.defineFlags(cmd)
	return cmd
}

func runProxy(config *settings.Config) error {
	options, err := proxyOptions(config)
	if err != nil {
		return statusError{statusUsage, err}
	}
	log, closeLog, err := newLog(config)
	if err != nil {
		return statusError{statusFailed, err}
	}
	defer closeLog()
	options.Logger = log
	app, err := proxy.New(options)
	if err != nil {
		return statusError{statusUsage, err}
	}
	defer app.Close()
	return serve(config, app, server.Pool, false)
}

func proxyOptions(config *settings.Config) (proxy.Options, error) {
	o := proxy.Options{
		To: config.List("proxy.to"), Trusted: proxies(config),
		ConnectTimeout:  config.Duration("proxy.connect_timeout"),
		UpstreamTimeout: config.Duration("proxy.upstream_timeout"),
		TunnelTimeout:   config.Duration("proxy.tunnel_timeout"), Retries: count(config, "proxy.retries"),
		MaxFails: count(config, "proxy.max_fails"), FailTimeout: config.Duration("proxy.fail_timeout"),
		HealthPath: config.Text("proxy.health_path"), HealthInterval: config.Duration("proxy.health_interval"),
		UpgradeTokens: append([]string{}, config.List("proxy.upgrade")...), Logger: slog.Default(),
	}
	set := errors.Join(o.Balance.Set(config.Text("proxy.balance")), o.Host.Set(config.Text("proxy.host")),
		o.Forward.Set(config.Text("proxy.forward")))
	if set != nil {
		return o, set // the words of the table are not those of package proxy
	}
	if name := config.Text("proxy.ca"); name != "" {
		pem, err := os.ReadFile(name)
		if err != nil {
			return o, err
		}
		o.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
		if !o.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return o, errors.New("proxy.ca: " + name + " has no certificate in PEM")
		}
	}
	return o, nil
}

// checkProxy returns the error of proxy.New.
func checkProxy(o proxy.Options) error {
	app, err := proxy.New(o)
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "proxy: "))
	}
	return app.Close()
}

// count is a number of which 0 and none are the same: -1, as options of Go have it.
func count(config *settings.Config, key string) int {
	if n := int(config.Number(key)); n > 0 {
		return n
	}
	return proxy.None
}

func init() {
	checks["proxy.to"] = func(url string) error { return checkProxy(proxy.Options{To: []string{url}}) }
	checks["proxy.health_path"] = func(path string) error {
		return checkProxy(proxy.Options{To: []string{"http://127.0.0.1"}, HealthPath: path})
	}
	checks["proxy.upgrade"] = func(token string) error {
		return checkProxy(proxy.Options{To: []string{"http://127.0.0.1"}, UpgradeTokens: []string{token}})
	}
	checks["proxy.ca"] = readable
}
