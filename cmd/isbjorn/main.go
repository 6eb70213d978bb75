// Command isbjorn serves HTTP: Python applications, the files of a directory, and other servers that it stands in front
// of. It is the
// server of this module as a program, with the settings of an operator by flags, environment and a file.
//
// isbjorn --help lists the commands, and docs/operating.md explains them.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/isbjorn/isbjorn/internal/settings"
	"github.com/isbjorn/isbjorn/server"
)

func main() {
	// A write to a pipe whose reader is gone is an error, and no end of the process: see server.Run.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	reopened := make(chan os.Signal, 1)
	signal.Notify(reopened, syscall.SIGUSR1)
	go reopenLogs(reopened)
	server.EnableTLS()
	os.Exit(execute(underName(os.Args), os.Stdout, os.Stderr))
}

// The exit statuses.
const (
	statusDone   = 0
	statusFailed = 1 // at run time
	statusUsage  = 2 // the command line or the configuration is wrong
)

// A statusError is an error with the exit status that it leads to.
type statusError struct {
	status int
	error
}

func (e statusError) Unwrap() error { return e.error }

// execute runs a command line and returns the exit status.
func execute(args []string, stdout, stderr io.Writer) int {
	root, out := newRoot(), &output{Writer: stdout}
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	err := root.Execute()
	status := statusError{status: statusUsage} // what cobra finds is wrong usage
	switch {
	case errors.Is(out.err, syscall.EPIPE): // its reader has enough: isbjorn --help | head -1
		return statusFailed
	case out.err != nil:
		fmt.Fprintln(stderr, "isbjorn: standard output:", withoutName(out.err))
		return statusFailed
	case err == nil:
		return statusDone
	case errors.As(err, &status) && status.error == nil: // said already
		return status.status
	}
	var mistakes settings.Mistakes
	if errors.As(err, &mistakes) {
		fmt.Fprintln(stderr, err)
	} else {
		fmt.Fprintln(stderr, "isbjorn:", strings.TrimPrefix(err.Error(), "server: "))
	}
	return status.status
}

// output is standard output. It keeps the error of a write, which most that print do not look at.
type output struct {
	io.Writer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil {
		o.err = err
	}
	return n, err
}

// unknownCommand refuses what is no command.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	mend := cmp.Or(settings.DidYouMean(args[0], names, ""), cmd.Name()+" --help lists them")
	return fmt.Errorf("%q is no command; %s", args[0], mend)
}

// atMost refuses more than n arguments. takes says what the command has room for.
func atMost(n int, takes string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return fmt.Errorf("unexpected argument %q; %s takes %s", args[n], cmd.CommandPath(), takes)
		}
		return nil
	}
}

func newRoot() *cobra.Command {
	showVersion := false
	root := &cobra.Command{
		Use:           "isbjorn COMMAND",
		Short:         "serve HTTP: Python applications, files, and servers behind this one",
		SilenceErrors: true, // execute prints them
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showVersion {
				fmt.Fprint(cmd.OutOrStdout(), versionLine())
				return nil
			}
			return cmd.Help()
		},
	}
	// cobra's own flag is a template, and what templates link is 2 MB more.
	root.Flags().BoolVarP(&showVersion, "version", "v", false, "the same as isbjorn version")
	_ = root.Flags().MarkHidden("version") // an error if the flag were not there
	cobra.EnableCommandSorting = false
	root.AddCommand(newRun(), newStatic(), newProxy(), newElsewhere("gunicorn", "gunicorn"), newElsewhere("uwsgi", "uWSGI"),
		newStatus(), newReload(), newWorkers(), newStop(),
		newCheck(), newConvert(), newCompletion(), newSystemd(), newVersion())
	root.SetHelpCommand(newHelp())
	root.SetHelpFunc(printHelp)
	root.CompletionOptions.DisableDefaultCmd = true // newCompletion has its own help
	for _, cmd := range append(root.Commands(), root) {
		cmd.DisableFlagsInUseLine = true
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; %s --help lists the flags", suggestFlag(cmd, err), cmd.CommandPath())
	})
	return root
}
