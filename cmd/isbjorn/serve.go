package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/convert"
	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/forwarded"
	"github.com/isbjorn/isbjorn/gateway/middleware"
	"github.com/isbjorn/isbjorn/internal/logs"
	"github.com/isbjorn/isbjorn/internal/settings"
	"github.com/isbjorn/isbjorn/server"
)

// configFile is the file that is read where no other is named.
const configFile = "isbjorn.toml"

// readers are those of configuration files, by the end of their names.
var readers = convert.Readers(false)

// variable is one of the environment.
func variable(name string) string { return settings.Variable(os.Environ(), name) }

// input is what the command line gives to a command that reads settings.
type input struct {
	command settings.Command
	given   []settings.Given
	file    string
	print   bool // --print-config
	helpAll bool

	elsewhere []string // the command line of another server, in place of all these
}

// inputs has the input of each command that reads settings, for those that parse the command line of another.
var inputs = map[*cobra.Command]*input{}

// commandOf returns the settings of a command.
func commandOf(cmd *cobra.Command) (settings.Command, bool) {
	for _, c := range []settings.Command{settings.Static, settings.Proxy, settings.Run} {
		if cmd.Name() == c.String() {
			return c, true
		}
	}
	return 0, false
}

// defineFlags defines a flag for each setting of the command, and those that are no settings.
func (in *input) defineFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	for _, s := range settings.Of(in.command) {
		name := s.Flag(in.command)
		f := flags.VarPF(settings.NewFlag(s, in.command, &in.given), name, s.Short, s.Help)
		if s.Kind == settings.Bool {
			f.NoOptDefVal = "true"
		}
		if s.Values != nil {
			values := cobra.FixedCompletions(s.Values, cobra.ShellCompDirectiveNoFileComp)
			_ = cmd.RegisterFlagCompletionFunc(name, values) // an error if the flag were not there
		}
	}
	flags.StringVarP(&in.file, "config", "c", "", "`FILE` with settings (default ./"+configFile+")")
	flags.BoolVar(&in.print, "print-config", false, "print the settings with their sources, and end")
	flags.BoolVar(&in.helpAll, "help-all", false, "help with all settings")
	inputs[cmd] = in
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		for _, s := range settings.Of(in.command) {
			if name == s.Alias {
				name = s.Flag(in.command)
			}
		}
		return pflag.NormalizedName(name)
	})
}

// arguments adds what stands on the command line without a flag: the directory, or the upstreams.
func (in *input) arguments(args []string) {
	key, name := "static.root", "DIR"
	switch in.command {
	case settings.Proxy:
		key, name = "proxy.to", "URL"
	case settings.Run:
		key, name = "app", "MODULE:NAME"
	}
	for _, text := range args {
		if in.command == settings.Run && in.file == "" && isElsewhere(text) {
			in.file = text
			continue
		}
		in.given = append(in.given, settings.Given{Key: key, Texts: []settings.Part{{Text: text}},
			Source: settings.Source{Origin: settings.Flags, Name: name}})
	}
}

// load merges the settings, and says hints on w. The error has all mistakes.
func (in *input) load(w io.Writer) (*settings.Config, error) {
	config, mistakes := in.read(w)
	if !mistakes.Failed() {
		mistakes = append(mistakes, together(config)...)
	}
	if mistakes.Failed() {
		return config, mistakes
	}
	for _, hint := range mistakes {
		fmt.Fprintln(w, hint)
	}
	return config, nil
}

// read merges the settings. It says on w where they are from, if that is a file that was found.
func (in *input) read(w io.Writer) (*settings.Config, settings.Mistakes) {
	environ := os.Environ()
	if in.elsewhere != nil {
		return in.readElsewhere(environ)
	}
	file, found := in.configFile(environ)
	if found {
		fmt.Fprintln(w, "isbjorn: settings of ./"+configFile)
	}
	return settings.Load(settings.Input{
		Command: in.command, Environ: environ, Prefixes: []string{"ISBJORN_"}, File: file, Readers: readers,
		Flags: in.given, Check: checks,
	})
}

// together are the mistakes that no value has alone: of options that do not go together, certificates with their keys,
// files that must be in a directory.
func together(config *settings.Config) (mistakes settings.Mistakes) {
	options := server.Options{}
	config.Fill(&options)
	mistakes = append(mistakes, inKeys(config, options.Check(), "server: ")...)
	switch config.Command {
	case settings.Static:
		mistakes = append(mistakes, missingPages(config)...)
	case settings.Proxy:
		mistakes = append(mistakes, refusedUpstreams(config)...)
	case settings.Run:
		mistakes = append(mistakes, unheeded(config)...)
	}
	return mistakes
}

// inKeys is an error of another package about its options, which begins with prefix, as a mistake of an operator.
func inKeys(config *settings.Config, err error, prefix string) settings.Mistakes {
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), prefix)
	return settings.Mistakes{{Message: config.InKeys(text) + config.Sources(text)}}
}

// configFile is the configuration file: that of -c, of the environment, or the one that is found here.
func (in *input) configFile(environ []string) (name string, found bool) {
	name = cmp.Or(in.file, settings.Variable(environ, "ISBJORN_CONFIG"))
	if _, err := os.Stat(configFile); name == "" && err == nil {
		return configFile, true
	}
	return name, false
}

// document is the configuration file before it is merged with anything.
func (in *input) document() *settings.Document {
	name, _ := in.configFile(os.Environ())
	if name == "" {
		return &settings.Document{}
	}
	return settings.ReadFile(name, readers)
}

// checks refuse values that have the right form and cannot work, for all commands.
var checks = map[string]func(string) error{
	"trusted_proxies": func(text string) error { _, err := prefixesOf(text); return err },
	"tls.cert":        readable,
	"tls.key":         readable,
	"tls.client_ca":   readable,
	"bind":            func(text string) error { return unprefixed(server.CheckAddress(text)) },
	"temp_dir": func(text string) error {
		if text == "auto" {
			return nil
		}
		return isDirectory(text)
	},
}

var errNotRegular = errors.New("not a regular file")

func readable(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return withoutName(err)
	}
	if !info.Mode().IsRegular() { // to open a pipe may take for ever
		return errNotRegular
	}
	f, err := os.Open(name)
	if err != nil {
		return withoutName(err)
	}
	return f.Close()
}

func isDirectory(name string) error {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return withoutName(err)
	case !info.IsDir():
		return errors.New("no directory")
	}
	return nil
}

// unprefixed is an error of package server without its name.
func unprefixed(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.TrimPrefix(err.Error(), "server: "))
}

// withoutName is an error of a file without its name, which stands before it.
func withoutName(err error) error {
	if wrong := (*os.PathError)(nil); errors.As(err, &wrong) {
		return wrong.Err
	}
	return err
}

// prefixesOf are the prefixes of a value of trusted_proxies; none for unix.
func prefixesOf(text string) ([]netip.Prefix, error) {
	switch text {
	case "unix":
		return nil, nil
	case "*": // all, in two halves each: forwarded takes 0.0.0.0/0 for a mistake
		return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1"),
			netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")}, nil
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap()
		return []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err == nil {
		err = (&forwarded.Proxies{Prefixes: []netip.Prefix{p}}).Check()
	}
	if err != nil {
		return nil, errors.New("must be an address, a prefix such as 10.0.0.0/8, or unix for peers on Unix sockets")
	}
	return []netip.Prefix{p.Masked()}, nil
}

// proxies are the trusted ones.
func proxies(config *settings.Config) forwarded.Proxies {
	var p forwarded.Proxies
	for _, text := range config.List("trusted_proxies") {
		prefixes, _ := prefixesOf(text) // Load has checked it
		p.Prefixes = append(p.Prefixes, prefixes...)
		p.Unix = p.Unix || text == "unix" || text == "*"
	}
	if len(config.List("trusted_proxies")) > 0 {
		p.Fields = []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"}
	}
	return p
}

// serve runs an application with the settings of a command, until a signal ends it. resolve has the client's address
// of trusted proxies in the environ.
func serve(config *settings.Config, app gateway.App, dispatch server.DispatchMode, resolve bool) error {
	log, closeLog, err := newLog(config)
	if err != nil {
		return statusError{statusFailed, err}
	}
	defer closeLog()
	return serveLogged(config, log, app, server.Options{Dispatch: dispatch}, resolve)
}

// serveLogged is serve with a log that was opened before, and with options beside those of the settings.
func serveLogged(config *settings.Config, log *slog.Logger, app gateway.App, options server.Options,
	resolve bool) error {
	stack, closeAccess, err := newAccessLog(config, log)
	if err != nil {
		return statusError{statusFailed, err}
	}
	defer closeAccess()
	if resolve {
		trusted, err := middleware.TrustedProxies(proxies(config))
		if err != nil {
			return statusError{statusUsage, err}
		}
		stack = append(stack, trusted)
		if list := config.List("trusted_proxies"); len(list) > 0 {
			log.Info("X-Forwarded-For, -Proto and -Host are believed", slog.Any("from", list))
		}
	}
	for _, m := range slices.Backward(stack) {
		app = m(app)
	}
	if config.Command == settings.Run && options.Dispatch == server.Auto {
		app = streaming{app}
	}
	options.Logger = log
	config.Fill(&options)
	if config.Command == settings.Run && options.Loops == 0 {
		options.Loops = 1 // the streams of the workers are on one loop, and Python has the other cores
	}
	bind := config.List("bind")
	options.Bind = bind[1:]
	err = server.Run(app, bind[0], options)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w%s", err, holders(bind))
	}
	if err != nil {
		return statusError{statusFailed, err}
	}
	return nil
}

// newLog is the log of the program: lines of text on standard error, or in a file.
func newLog(config *settings.Config) (*slog.Logger, func(), error) {
	var level slog.Level
	_ = level.UnmarshalText([]byte(config.Text("log.level"))) // its words are those of slog
	to, closeFile, err := openLog(config, "log.file", os.Stderr)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: level})), closeFile, nil
}

// openLog opens the file of a setting for lines at its end, or returns standard for "-". It refuses a pipe
// without a reader, which would keep the program from its start.
func openLog(config *settings.Config, key string, standard *os.File) (*os.File, func(), error) {
	name := config.Text(key)
	if name == "-" {
		return standard, func() {}, nil
	}
	f, err := os.OpenFile(name, logFlags, 0o640)
	if errors.Is(err, syscall.ENXIO) {
		return nil, nil, fmt.Errorf("%s (%v): no program reads the pipe %s; start its reader first",
			key, config.Source(key), name)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s (%v): %w", key, config.Source(key), err)
	}
	return f, closeLater(f), nil
}

// closeTime is how long the last lines of an access log may take.
const closeTime = time.Second

// newAccessLog is the middleware that writes a line for each request; none if there is no such log.
func newAccessLog(config *settings.Config, log *slog.Logger) ([]gateway.Middleware, func(), error) {
	if config.Text("log.access") == "off" {
		return nil, func() {}, nil
	}
	f, closeFile, err := openLog(config, "log.access", os.Stdout)
	if err != nil {
		return nil, nil, err
	}
	w := logs.NewWriter(f, func(lines uint64, err error) {
		log.Warn("lines of the access log were dropped: what it is written to does not keep up, or fails",
			"lines", lines, "error", err)
	})
	m := middleware.CombinedLog(w)
	if config.Text("log.format") == "json" {
		m = middleware.AccessLog(slog.New(slog.NewJSONHandler(w, nil)))
	}
	return []gateway.Middleware{m}, func() { w.Close(closeTime); closeFile() }, nil
}
