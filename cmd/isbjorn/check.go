package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isbjorn/isbjorn/internal/settings"
)

func newCheck() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check [flags] FILE|COMMAND...",
		Short: "find mistakes in settings; start nothing",
		Long: "\nChecks the settings of a file, or those of a command line:\n" +
			"  isbjorn check isbjorn.toml\n" +
			"  isbjorn check static /srv/www -b :80\n" +
			"  isbjorn check gunicorn -w 4 shop:app\n" +
			"It prints ok and ends with status 0, or prints all mistakes and ends with 2.",
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // behind COMMAND they are its own
	flags.StringVarP(&o.file, "config", "c", "", "the `FILE` to check (default ./"+configFile+")")
	flags.BoolVar(&o.json, "json", false, "print mistakes as JSON")
	flags.BoolVar(&o.print, "print-config", false, "print the settings with their sources, and end")
	flags.BoolVar(&o.load, "load", false, "load the Python application too")
	flags.BoolVar(&o.strict, "strict", false, "hints and warnings are mistakes too")
	return cmd
}

type checkOptions struct {
	file         string
	json, strict bool
	print        bool // --print-config
	load         bool
}

func (o *checkOptions) run(cmd *cobra.Command, args []string) error {
	config, mistakes, err := o.read(cmd, args)
	if err != nil {
		return err
	}
	if !mistakes.Failed() {
		mistakes = append(mistakes, together(config)...)
		if o.print && !mistakes.Failed() {
			return config.Print(cmd.OutOrStdout())
		}
		mistakes = append(mistakes, probe(config)...)
	}
	if o.load && !mistakes.Failed() && config.Command == settings.Run {
		if err := loadApplication(config); err != nil {
			return err
		}
	}
	if o.strict {
		for _, m := range mistakes {
			m.Severity = settings.Error
		}
	}
	out := cmd.OutOrStdout()
	switch {
	case o.json:
		if err := printJSON(out, mistakes); err != nil {
			return err
		}
	case mistakes.Failed():
		return mistakes
	default:
		for _, m := range mistakes {
			fmt.Fprintln(cmd.ErrOrStderr(), m)
		}
		fmt.Fprintln(out, "ok")
	}
	if mistakes.Failed() {
		return statusError{status: statusUsage} // printed
	}
	return nil
}

// read reads the settings of a file, or of a command line.
func (o *checkOptions) read(cmd *cobra.Command, args []string) (*settings.Config, settings.Mistakes, error) {
	root := newRoot()
	if len(args) > 1 && o.file == "" && slices.Contains(elsewhere, args[0]) {
		config, mistakes := (&input{command: settings.Run, elsewhere: args}).read(io.Discard)
		return config, mistakes, nil
	}
	if len(args) > 0 {
		if sub, _, err := root.Find(args[:1]); err == nil && serves(sub) {
			in, err := parse(sub, args[1:])
			if err != nil {
				return nil, nil, err
			}
			if o.file != "" {
				in.file = o.file
			}
			o.print = o.print || in.print
			config, mistakes := in.read(io.Discard)
			return config, mistakes, nil
		}
	}
	if len(args) > 1 || len(args) == 1 && o.file != "" {
		return nil, nil, fmt.Errorf("%q is no command that serves, and one file is checked at a time", args[0])
	}
	if len(args) == 1 {
		o.file = args[0]
	}
	in := &input{file: o.file}
	d := in.document()
	c, err := commandFor(d)
	if err != nil {
		return nil, nil, err
	}
	in.command = c
	config, mistakes := in.read(io.Discard)
	return config, mistakes, nil
}

// commandFor is the command that a file is for: the one whose section it has, else isbjorn run.
func commandFor(d *settings.Document) (settings.Command, error) {
	found := map[string]settings.Command{}
	for _, g := range d.Given {
		section, _, _ := strings.Cut(g.Key, ".")
		switch {
		case g.Key == "app":
			found["app"] = settings.Run
		case section == "static" && g.Key != "static.map":
			found["[static]"] = settings.Static
		case section == "proxy":
			found["[proxy]"] = settings.Proxy
		}
	}
	var names []string
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	switch len(names) {
	case 0:
		return settings.Run, nil
	case 1:
		return found[names[0]], nil
	}
	return 0, fmt.Errorf("%s has %s; name the command that it is checked for: isbjorn check %v -c %s",
		d.Name, strings.Join(names, " and "), found[names[0]], d.Name)
}

// jsonMistake is a mistake as check --json prints it.
type jsonMistake struct {
	Source   string  `json:"source,omitempty"`
	File     string  `json:"file,omitempty"`
	Line     int     `json:"line,omitempty"`
	Column   int     `json:"column,omitempty"`
	Key      string  `json:"key,omitempty"`
	Value    *string `json:"value,omitempty"`
	Severity string  `json:"severity"`
	Message  string  `json:"message"`
	Mend     string  `json:"mend,omitempty"`
}

func printJSON(w io.Writer, mistakes settings.Mistakes) error {
	list := []jsonMistake{}
	for _, m := range mistakes {
		j := jsonMistake{Key: m.Key, Value: m.Value,
			Severity: m.Severity.String(), Message: m.Message, Mend: m.Mend}
		if m.Source.Origin > settings.Code {
			j.Source = m.Source.String()
		}
		if m.Source.Origin == settings.File {
			j.File, j.Line, j.Column = m.Source.Name, m.Source.Line, m.Source.Column
		}
		list = append(list, j)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(list)
}

// parse reads the command line of a command that serves, without running it.
func parse(cmd *cobra.Command, args []string) (*input, error) {
	in := inputs[cmd]
	if err := cmd.ParseFlags(args); err != nil {
		return nil, cmd.FlagErrorFunc()(cmd, err)
	}
	rest := cmd.Flags().Args()
	if err := cmd.ValidateArgs(rest); err != nil {
		return nil, err
	}
	in.arguments(rest)
	return in, nil
}

var errNotFound = errors.New("no such file")

// exists refuses a name that is not there.
func exists(name string) error {
	_, err := os.Stat(name)
	if errors.Is(err, os.ErrNotExist) {
		return errNotFound
	}
	return err
}
