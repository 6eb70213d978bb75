package main

import (
	"github.com/spf13/cobra"

	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/convert"
)

func newConvert() *cobra.Command {
	return &cobra.Command{
		Use:   "convert FILE",
		Short: "print settings of gunicorn or uWSGI as isbjorn.toml",
		Long: "\n  isbjorn convert gunicorn.conf.py >isbjorn.toml\n" +
			"  isbjorn convert uwsgi.ini:production\n" +
			"  isbjorn convert -- gunicorn -w 4 shop:app\n\n" +
			"A file in Python is run by python3; with --no-python only its literals are read.\n" +
			"What has no counterpart is said, with its line and what would do.",
		DisableFlagParsing: true, // what is behind -- is another program's
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && (args[0] == "-h" || args[0] == "--help") {
				return cmd.Help()
			}
			if status := convert.Run(args, cmd.OutOrStdout(), cmd.ErrOrStderr()); status != statusDone {
				return statusError{status: status} // said
			}
			return nil
		},
	}
}
