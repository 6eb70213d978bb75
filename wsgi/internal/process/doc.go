// Package process starts and ends the Python processes of an application: it finds the interpreter, hands over the
// channels of docs/design/wsgi.md, reads the control stream and what a worker prints, replaces workers that die, and
// reports why. wsgi/internal/dispatch gives them requests.
package process
