package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/middleware"
	"github.com/isbjorn/isbjorn/internal/settings"
	"github.com/isbjorn/isbjorn/server"
)

func newStatic() *cobra.Command {
	in := &input{command: settings.Static}
	cmd := &cobra.Command{
		Use:   "static [flags] DIR",
		Short: "serve the files of a directory",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("unexpected argument %q: one directory is served; a value of true or false needs =, "+
					"as in --listing=false", args[1])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			in.arguments(args)
			return in.run(cmd, runStatic)
		},
	}
	in.defineFlags(cmd)
	return cmd
}

// run is what commands that serve have in common: their help, --print-config, and the settings.
func (in *input) run(cmd *cobra.Command, serve func(*settings.Config) error) error {
	if in.helpAll {
		fmt.Fprint(cmd.OutOrStdout(), helpText(cmd, true))
		return nil
	}
	config, err := in.load(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if in.print {
		return config.Print(cmd.OutOrStdout())
	}
	if err := complete(config); err != nil {
		return err
	}
	return serve(config)
}

// complete refuses settings without what a command cannot do without.
func complete(config *settings.Config) error {
	switch {
	case config.Command == settings.Static && config.Text("static.root") == "":
		return errors.New("no directory; use isbjorn static DIR, or set root in [static] of a file")
	case config.Command == settings.Proxy && len(config.List("proxy.to")) == 0:
		return errors.New("no upstream; use isbjorn proxy URL, or set to in [proxy] of a file")
	}
	return nil
}

func runStatic(config *settings.Config) error {
	app, err := staticApp(config)
	if err != nil {
		return statusError{statusUsage, err}
	}
	return serve(config, app, server.Auto, true)
}

// staticApp is the application that serves the files.
func staticApp(config *settings.Config) (gateway.App, error) {
	o := middleware.StaticOptions{
		Index: append([]string{}, config.List("static.index")...), Fallback: config.Text("static.spa"), List: config.Bool("static.listing"),
		NoSymlinks: !config.Bool("static.symlinks"), Precompressed: config.List("static.precompressed"),
		OpenFiles: int(max(config.Number("static.open_files"), 0)), ErrorPages: map[int]string{},
	}
	if age := config.Duration("static.cache"); age >= 0 {
		o.CacheControl = "max-age=" + strconv.FormatInt(int64(age.Seconds()), 10)
	}
	if config.Bool("static.immutable") {
		o.CacheControlFor = middleware.HashedNames
	}
	for _, pair := range config.List("static.error_pages") {
		status, file, _ := strings.Cut(pair, "=")
		n, _ := strconv.Atoi(status) // Load has checked it
		o.ErrorPages[n] = file
	}
	return middleware.Static(config.Text("static.root"), o)
}

func init() {
	checks["static.root"] = func(name string) error {
		root, err := os.OpenRoot(name)
		if err != nil {
			return withoutName(err)
		}
		return root.Close()
	}
	checks["static.index"] = isFileName
	checks["static.spa"] = func(file string) error {
		if !filepath.IsLocal(file) {
			return errNotLocal
		}
		return nil
	}
	checks["static.error_pages"] = func(pair string) error {
		status, file, _ := strings.Cut(pair, "=")
		statuses := []int{http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
			http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable}
		if n, err := strconv.Atoi(status); err != nil || !slices.Contains(statuses, n) {
			return fmt.Errorf("the status must be one of %v", statuses)
		}
		if !filepath.IsLocal(file) {
			return errNotLocal
		}
		return nil
	}
}

var errNotLocal = errors.New("the file must be one of the directory")

func isFileName(name string) error {
	if name != filepath.Base(name) || !filepath.IsLocal(name) {
		return errors.New("must be the name of a file, such as index.html")
	}
	return nil
}

// missingPages are the mistakes of settings with a file of the directory that is not there, or cannot be read.
func missingPages(config *settings.Config) (mistakes settings.Mistakes) {
	dir := config.Text("static.root")
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil // there is no directory yet: see complete
	}
	defer root.Close()
	check := func(key, value, file string) {
		if err := readableIn(root, file); err != nil {
			at := config.Source(key)
			at.Column = 0 // without an excerpt
			mistakes = append(mistakes, &settings.Mistake{Source: at, Key: key, Value: &value,
				Message: fmt.Sprintf("%s: %v", filepath.Join(dir, file), err),
				Mend:    "name a file of the directory that can be read, or leave the setting out"})
		}
	}
	if file := config.Text("static.spa"); file != "" {
		check("static.spa", file, file)
	}
	for _, pair := range config.List("static.error_pages") {
		_, file, _ := strings.Cut(pair, "=")
		check("static.error_pages", pair, file)
	}
	return mistakes
}

func readableIn(root *os.Root, name string) error {
	info, err := root.Stat(name)
	if err != nil {
		return withoutName(err)
	}
	if !info.Mode().IsRegular() { // to open a pipe may take for ever
		return errNotRegular
	}
	f, err := root.Open(name)
	if err != nil {
		return withoutName(err)
	}
	return f.Close()
}
