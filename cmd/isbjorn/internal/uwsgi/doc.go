// Package uwsgi reads the configuration of uWSGI: its ini files and its command line.
//
// It follows uWSGI's own rules. Of a file it reads the section [uwsgi], or prod for file.ini:prod. A line that begins
// with ; or # is a comment, and there are none behind a value. A name without = is true. %d and the like are replaced
// in a line when it is read; then, in all values, $(VARIABLE), @(file) and %(name). A line ini = :base, or
// ini = other.ini, is replaced by that section.
//
// What uWSGI passes over in silence is said: a name that is no option and that no %(name) uses, a number with a tail,
// a variable that is not set. What isbjorn cannot do is an error that says what does it instead. [Verdicts] lists all
// options that the package knows.
package uwsgi
