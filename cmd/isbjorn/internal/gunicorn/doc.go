// Package gunicorn reads the configuration of gunicorn: its configuration file, its command line, and the variable
// GUNICORN_CMD_ARGS.
//
// A configuration file is a program, and most of them compute: so [Read] asks Python, which runs the file as gunicorn
// does and answers with the value of each name (shim.py). [ReadLiterals] is for a machine without Python: it reads
// lines such as workers = 4, and says which others need Python.
//
// The last of the file, the variable and the command line that gives a setting has it. What isbjorn cannot do is an
// error that says what does it instead; a name that gunicorn passes over and that is like a setting is a warning.
// [Verdicts] lists all settings of gunicorn 26.1.
package gunicorn
