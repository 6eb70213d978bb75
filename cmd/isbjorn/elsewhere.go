package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/convert"
	"github.com/isbjorn/isbjorn/internal/settings"
)

// elsewhere are the programs whose command lines isbjorn reads as they are: as a command, or under their name.
var elsewhere = []string{"gunicorn", "uwsgi"}

// underName is the command line of a program that was started by one of these names, such as by a symbolic link.
func underName(args []string) []string {
	if name := strings.TrimSuffix(filepath.Base(args[0]), ".exe"); slices.Contains(elsewhere, name) {
		return append([]string{name}, args[1:]...)
	}
	return args[1:]
}

// newElsewhere is the command of another server's name.
func newElsewhere(name, server string) *cobra.Command {
	return &cobra.Command{
		Use:   name + " ARGS...",
		Short: "the same, by the command line of " + server,
		Long: "\nThe arguments and files are those of " + server + ". What has no counterpart is said, with its line and\n" +
			"what would do; isbjorn convert -- " + name + " ARGUMENTS prints the settings as isbjorn.toml. A symbolic link\n" +
			"to isbjorn that is called " + name + " does the same.",
		DisableFlagParsing: true, // they are the other server's
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && (args[0] == "-h" || args[0] == "--help") {
				return cmd.Help()
			}
			in := &input{command: settings.Run, elsewhere: append([]string{name}, args...)}
			return in.run(cmd, func(config *settings.Config) error { return runPython(in, config) })
		},
	}
}

// readElsewhere merges what the command line of another server gives. The defaults are ours, but for those that its
// reader gives.
func (in *input) readElsewhere(environ []string) (*settings.Config, settings.Mistakes) {
	document := convert.CommandLine(in.elsewhere, false)
	config, mistakes := settings.Load(settings.Input{
		Command: in.command, Environ: environ, Prefixes: []string{"ISBJORN_"}, Flags: document.Given, Check: checks,
	})
	config.File = document.Name
	return config, append(slices.Clone(document.Mistakes), mistakes...)
}

// isElsewhere reports whether an argument of isbjorn run is a configuration of another server, and no application.
func isElsewhere(arg string) bool {
	file, _, _ := strings.Cut(arg, ":")
	return strings.HasSuffix(file, ".ini") && !strings.HasPrefix(arg, "paste:") || filepath.Base(file) == "gunicorn.conf.py"
}
