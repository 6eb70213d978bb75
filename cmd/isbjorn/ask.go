package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// asking is a command that asks an instance which runs.
func asking(use, short, long string, ask func(cmd *cobra.Command, to string) error) *cobra.Command {
	to := ""
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: atMost(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, err := instance(to)
			if err != nil {
				return statusError{statusFailed, err}
			}
			return ask(cmd, name)
		},
	}
	cmd.Flags().StringVar(&to, "control", "", "`SOCKET` of the instance (default: the only one of this user)")
	_ = cmd.RegisterFlagCompletionFunc("control", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return controlNames(), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// instance is the socket of the instance that is meant: the one that was named, or the only one.
func instance(named string) (string, error) {
	if named == "" {
		named = variable("ISBJORN_CONTROL")
	}
	if named != "" {
		return strings.TrimPrefix(named, "unix:"), nil
	}
	names := controlNames()
	switch len(names) {
	case 0:
		return "", errors.New("no isbjorn run of this user answers; --control names a socket")
	case 1:
		return names[0], nil
	}
	var list strings.Builder
	for _, name := range names {
		line := ""
		if a, err := call(name, controlCommand{Command: "status"}); err == nil && a.State != nil {
			line = fmt.Sprintf("  process %d, %s, %s", a.State.PID, a.State.App, strings.Join(a.State.Bind, " "))
		}
		fmt.Fprintf(&list, "\n  --control %s%s", name, line)
	}
	return "", fmt.Errorf("there are %d; say which:%s", len(names), list.String())
}

// call asks an instance. An answer takes as long as what was asked for.
func call(name string, command controlCommand) (a controlAnswer, err error) {
	c, err := net.DialTimeout("unix", name, controlTime)
	if err != nil {
		return a, fmt.Errorf("%s does not answer: %w", name, err)
	}
	defer c.Close()
	if err := allowed(c); err != nil {
		return a, fmt.Errorf("%s: %w", name, err)
	}
	b, err := json.Marshal(command)
	if err != nil {
		return a, err
	}
	if _, err := c.Write(append(b, '\n')); err != nil {
		return a, fmt.Errorf("%s: %w", name, err)
	}
	line, err := bufio.NewReader(c).ReadBytes('\n')
	if err != nil {
		return a, fmt.Errorf("%s has ended before it answered", name)
	}
	return a, json.Unmarshal(line, &a)
}

// say asks, and prints what comes, or is the error with its status.
func say(w io.Writer, to string, command controlCommand) (controlAnswer, error) {
	a, err := call(to, command)
	switch {
	case err != nil:
		return a, statusError{statusFailed, err}
	case a.Error != "":
		return a, statusError{a.Status, errors.New(a.Error)}
	case a.Text != "":
		fmt.Fprintln(w, a.Text)
	}
	return a, nil
}

func newReload() *cobra.Command {
	return asking("reload", "reload an instance, and say what failed",
		"\nThe settings and the application are read again, as by SIGHUP. The exit status is 2 for a mistake in the\n"+
			"settings, 4 if the application cannot be loaded, 3 if its process ends: then nothing has changed.",
		func(cmd *cobra.Command, to string) error {
			_, err := say(cmd.OutOrStdout(), to, controlCommand{Command: "reload"})
			return err
		})
}

func newWorkers() *cobra.Command {
	return &cobra.Command{
		Use: "workers N", Short: "set the number of worker processes: N, +N or -N",
		DisableFlagParsing: true, // -1 is no flag
		RunE: func(cmd *cobra.Command, args []string) error {
			to, number := "", ""
			for i := 0; i < len(args); i++ {
				value, given := strings.CutPrefix(args[i], "--control=")
				switch {
				case args[i] == "-h" || args[i] == "--help":
					return cmd.Help()
				case given:
					to = value
				case args[i] == "--control" && i+1 < len(args):
					i++
					to = args[i]
				case number == "":
					number = args[i]
				default:
					return fmt.Errorf("unexpected argument %q; isbjorn workers takes one number", args[i])
				}
			}
			if number == "" {
				return errors.New("how many? use isbjorn workers N, +N or -N")
			}
			name, err := instance(to)
			if err != nil {
				return statusError{statusFailed, err}
			}
			_, err = say(cmd.OutOrStdout(), name, controlCommand{Command: "workers", Text: number})
			return err
		},
	}
}

func newStop() *cobra.Command {
	return asking("stop", "stop an instance in order, and wait for it", "",
		func(cmd *cobra.Command, to string) error {
			if _, err := say(cmd.OutOrStdout(), to, controlCommand{Command: "stop"}); err != nil {
				return err
			}
			for { // its socket is there for as long as it is
				c, err := net.DialTimeout("unix", to, controlTime)
				if err != nil {
					return nil
				}
				_ = c.Close()
				time.Sleep(20 * time.Millisecond)
			}
		})
}

func newStatus() *cobra.Command {
	inJSON := false
	cmd := asking("status", "what an instance of isbjorn run does", "",
		func(cmd *cobra.Command, to string) error {
			a, err := say(cmd.OutOrStdout(), to, controlCommand{Command: "status"})
			if err != nil {
				return err
			}
			if a.State == nil {
				return statusError{statusFailed, fmt.Errorf("%s has no status", to)}
			}
			if inJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(a.State)
			}
			a.State.print(cmd.OutOrStdout(), time.Now())
			return nil
		})
	cmd.Flags().BoolVar(&inJSON, "json", false, "as JSON")
	return cmd
}

// print writes a state for people.
func (s *state) print(w io.Writer, now time.Time) {
	fmt.Fprintf(w, "process %d, %s, on %s, for %v, %d workers\n", s.PID, s.App, strings.Join(s.Bind, " "),
		now.Sub(s.Since).Round(time.Second), s.Size)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WORKER\tPID\tGENERATION\tSTATE\tREQUESTS\tMIB\tAGE\tRUNS")
	for _, x := range s.Workers {
		fmt.Fprintf(table, "%d\t%d\t%d\t%s\t%d\t%d\t%v\t%s\n", x.Number, x.PID, x.Generation, x.State, x.Requests,
			x.Memory>>20, now.Sub(x.Started).Round(time.Second), strings.Join(x.Running, ", "))
	}
	_ = table.Flush()
}
