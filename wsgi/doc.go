// Package wsgi runs a Python application (WSGI, PEP 3333) as a gateway.App: in worker processes of the Python that the
// user has, behind the connections, limits and timeouts of a server in Go. The command isbjorn run is a thin layer over
// it.
//
//	app, err := wsgi.New(wsgi.Options{App: "shop.wsgi:application", Threads: 4})
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer app.Close()
//	server.Main(app)
//
// A request is handed to the workers when all of its content is there, in memory or in a file, so that a slow client
// occupies no worker; and a worker is free again when it has given its response away, however slowly the client reads.
// Serve does not wait: under a server with event loops an App needs no goroutine for a request, and the streams of the
// workers are on the loop of the clients. A worker that dies is replaced: its request is answered by 502 if it had
// begun, and is given to another one if not.
//
// It is for Linux. docs/wsgi.md is for those who run an application, docs/design/wsgi.md for those who change this
// package.
package wsgi
