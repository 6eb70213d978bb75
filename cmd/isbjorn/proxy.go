package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"strconv"
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
		roots, err := authorities(name)
		if err != nil {
			return o, err
		}
		o.TLS = &tls.Config{RootCAs: roots}
	}
	return o, nil
}

// authorities are the certificates of a file in PEM.
func authorities(name string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("has no certificate in PEM")
	}
	return pool, nil
}

// refusedUpstreams is what package proxy refuses of values that are right alone.
func refusedUpstreams(config *settings.Config) settings.Mistakes {
	o, err := proxyOptions(config)
	if err == nil && len(o.To) > 0 { // see complete
		err = o.Check()
	}
	return inKeys(config, err, "proxy: ")
}

// count is a number of which 0 and none are the same: -1, as options of Go have it.
func count(config *settings.Config, key string) int {
	if n := int(config.Number(key)); n > 0 {
		return n
	}
	return proxy.None
}

func init() {
	checks["proxy.to"] = func(url string) error { return checkValue(url, proxy.Options{To: []string{url}}) }
	to := []string{"http://127.0.0.1"}
	checks["proxy.health_path"] = func(path string) error {
		return checkValue(path, proxy.Options{To: to, HealthPath: path})
	}
	checks["proxy.upgrade"] = func(token string) error {
		return checkValue(token, proxy.Options{To: to, UpgradeTokens: []string{token}})
	}
	checks["proxy.ca"] = func(name string) error {
		if err := readable(name); err != nil {
			return err
		}
		_, err := authorities(name)
		return err
	}
}

// checkValue returns what the error of o says behind a value, which stands before it in the mistake:
// "it has no host; use ..." of `proxy: option To has "http://": it has no host; use ...`.
func checkValue(value string, o proxy.Options) error {
	err := o.Check()
	if err == nil {
		return nil
	}
	_, why, _ := strings.Cut(err.Error(), strconv.Quote(value)+": ")
	return errors.New(cmp.Or(why, err.Error()))
}
