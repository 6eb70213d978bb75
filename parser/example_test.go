package parser_test

import (
	"fmt"
	"log"

	"github.com/isbjorn/isbjorn/parser"
)

func Example() {
	buf := []byte("GET /path?query HTTP/1.1\r\nHost: example.com\r\n\r\n")

	lim := parser.DefaultLimits() // one for the program
	var r parser.Request          // one for each connection

	n, err := r.Parse(buf, &lim) // n == 0 && err == nil: read more, call again
	if err != nil || n == 0 {
		log.Fatal(n, err)
	}
	host, _ := r.Known(parser.Host)
	fmt.Printf("%s %s at %s\n", r.Method.Of(buf), r.Path.Of(buf), host.Of(buf))
	// Output: GET /path at example.com
}
