// Package dispatch has the requests between the connections of clients and the slots of Python workers: it keeps those
// that wait, hands them to the kernel's queue that all workers take from, decodes their answers on an event loop, and
// decides what becomes of a request whose worker dies, hangs or is not there. docs/design/wsgi.md has the protocol.
//
// It knows no HTTP and no processes: package wsgi makes the messages and sends the answers, wsgi/internal/process
// starts and ends workers.
package dispatch
