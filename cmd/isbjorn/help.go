package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/isbjorn/isbjorn/internal/settings"
)

// printHelp prints the help of a command: for one that reads settings the common ones, or all after --help-all.
func printHelp(cmd *cobra.Command, _ []string) {
	fmt.Fprint(cmd.OutOrStdout(), helpText(cmd, false))
}

func helpText(cmd *cobra.Command, all bool) string {
	var b strings.Builder
	b.WriteString(strings.ToUpper(cmd.Short[:1]) + cmd.Short[1:] + ".\n")
	if cmd.Long != "" {
		b.WriteString(cmd.Long + "\n")
	}
	fmt.Fprintf(&b, "\nUsage: %s\n", cmd.UseLine())
	if cmd.HasAvailableSubCommands() || cmd.HasAvailableLocalFlags() {
		b.WriteByte('\n')
	}
	c, ok := commandOf(cmd)
	if ok {
		b.WriteString(strings.TrimPrefix(settings.Usage(c, all), "\n"))
	}
	b.WriteString(commandsHelp(cmd))
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, setting := f.Value.(*settings.FlagValue); setting || f.Hidden || f.Name == "help" || f.Name == "help-all" {
			return
		}
		name := "      --" + f.Name
		if f.Shorthand != "" {
			name = "  -" + f.Shorthand + ", --" + f.Name
		}
		arg, usage := pflag.UnquoteUsage(f)
		fmt.Fprintf(&b, "%-32s %s\n", strings.TrimRight(name+" "+arg, " "), usage)
	})
	if ok && !all {
		fmt.Fprintf(&b, "\n%s --help-all lists all settings; isbjorn help KEY explains one\n", cmd.CommandPath())
	}
	return b.String()
}

// commandsHelp is a line for each command.
func commandsHelp(cmd *cobra.Command) string {
	var b strings.Builder
	lines := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			fmt.Fprintf(lines, "  %s\t%s\n", strings.Replace(sub.Use, "[flags] ", "", 1), sub.Short)
		}
	}
	_ = lines.Flush() // to memory
	return b.String()
}

// suggestFlag adds the flag that an unknown one may stand for.
func suggestFlag(cmd *cobra.Command, err error) error {
	unknown, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if mend := settings.DidYouMean(unknown, names, "--"); mend != "" {
		return fmt.Errorf("%w; %s", err, mend)
	}
	if text, explained := settings.Explain(unknown); explained == nil {
		key, _, _ := strings.Cut(text, ":")
		return fmt.Errorf("%w; it is about %s: isbjorn help %s", err, key, key)
	}
	return err
}

func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help COMMAND|KEY",
		Short: "help for a command, or for a setting",
		Args:  atMost(1, "one command or setting"),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			if len(args) == 0 {
				return root.Help()
			}
			if found, rest, err := root.Find(args); err == nil && found != root && len(rest) == 0 {
				return found.Help()
			}
			text, err := settings.Explain(args[0])
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), text)
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			var words []string
			for _, s := range settings.All() {
				words = append(words, s.Key+"\t"+s.Help)
			}
			for _, c := range cmd.Root().Commands() {
				words = append(words, c.Name()+"\t"+c.Short)
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "version, and what this program is built of",
		Args:  atMost(0, "none"),
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), versionLine()) },
	}
}

func versionLine() string {
	return fmt.Sprintf("isbjorn %s, %s, %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// version is that of the module, or the revision that it was built of.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	v := info.Main.Version
	if v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "(devel)"
}

func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "completion for bash, zsh, fish or powershell",
		Long: "\nbash:  source <(isbjorn completion bash)\n" +
			"zsh:   isbjorn completion zsh >\"${fpath[1]}/_isbjorn\"\n" +
			"fish:  isbjorn completion fish >~/.config/fish/completions/isbjorn.fish",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || !slices.Contains(cmd.ValidArgs, args[0]) {
				return errors.New("completion needs the name of a shell: bash, zsh, fish or powershell")
			}
			return atMost(1, "one shell")(cmd, args)
		},
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return root.GenPowerShellCompletionWithDesc(out)
		},
	}
}
