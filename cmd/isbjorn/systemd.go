package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// unit is for one service. The port may be below 1024; the files need not be writable. A wrong configuration does not
// get better by another start (status 2). A reload is SIGHUP where there is one; SIGUSR2 starts the program again with
// new settings. Neither loses a request.
const unit = `[Unit]
Description=%[1]s
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=all
ExecStart=%[2]s
ExecReload=/bin/kill -%[6]s $MAINPID
WorkingDirectory=%[3]s
Restart=on-failure
RestartPreventExitStatus=2
TimeoutStopSec=40
LimitNOFILE=65536

DynamicUser=yes
RuntimeDirectory=%[4]s
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
LockPersonality=yes
%[5]sSystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
`

func newSystemd() *cobra.Command {
	return &cobra.Command{
		Use:   "systemd COMMAND...",
		Short: "print a unit for systemd that runs a command",
		Long: "\nThe command is checked, and not run:\n" +
			"  isbjorn systemd static /srv/www -b :80 >/etc/systemd/system/www.service",
		DisableFlagParsing: true, // they are those of the command
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "-h" || args[0] == "--help" {
				return cmd.Help()
			}
			text, err := unitFor(args, cmd)
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), text)
			return nil
		},
	}
}

func unitFor(args []string, cmd *cobra.Command) (string, error) {
	name, root := args[0], newRoot()
	sub, _, err := root.Find(args[:1])
	if err != nil || !serves(sub) {
		return "", fmt.Errorf("%q is no command that serves; use run, static or proxy", name)
	}
	in, err := parse(sub, args[1:])
	switch {
	case err != nil:
		return "", err
	case in.print || in.helpAll:
		return "", errors.New("a service serves: leave --print-config and --help-all out")
	}
	config, err := in.load(cmd.ErrOrStderr())
	if err == nil {
		err = complete(config)
	}
	if err != nil {
		return "", err
	}
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	line := []string{quoteUnit(program)}
	for _, arg := range args {
		line = append(line, quoteUnit(arg))
	}
	writeExecute, reload := "MemoryDenyWriteExecute=yes\n", "USR2"
	if name == "run" {
		writeExecute, reload = "", "HUP" // packages of Python make code: ffi, compilers
	}
	return fmt.Sprintf(unit, "isbjorn "+name+" of "+strings.ReplaceAll(dir, "%", "%%"), strings.Join(line, " "),
		strings.ReplaceAll(dir, "%", "%%"), strings.TrimSuffix(filepath.Base(program), ".exe"), writeExecute, reload), nil
}

func serves(cmd *cobra.Command) bool { _, ok := commandOf(cmd); return ok }

// quoteUnit is an argument of ExecStart: see systemd.service(5), "Command lines".
func quoteUnit(arg string) string {
	escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$", "\n", `\n`, "\t", `\t`).Replace(arg)
	if escaped == arg && arg != "" && !strings.ContainsAny(arg, " ';") {
		return arg
	}
	return `"` + escaped + `"`
}
