// Package settings has the one table of all settings that an operator can give, and reads them.
//
// A [Setting] is a row: its key, kind, unit, default, range, and what it is called elsewhere. The flags of a program,
// its environment variables, the keys of its file, its help, its completion and its documentation come from the
// table, so that a setting has one name: the option HeadTimeout of a Go program is head_timeout in a file,
// --head-timeout on a command line, and ISBJORN_HEAD_TIMEOUT in the environment. In a section the key is log.access,
// --log-access and ISBJORN_LOG_ACCESS.
//
// [Load] merges what was given. The last of these wins: the default, the program's own options, PORT and
// WEB_CONCURRENCY, the file, the environment, the flags. Every value keeps its [Source]. Load finds all mistakes at
// once, each a [Mistake] with its place and what would do.
//
// The package imports nothing of this module: it fills an options struct by reflection ([Config.Fill]).
package settings
