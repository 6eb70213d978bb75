// Environ answers with everything that the server tells an application about a
// request, sorted, one "key = value" a line.
//
//	go run ./examples/environ
//	curl 'http://127.0.0.1:8080/a%20path?and=query' -H 'X-Field: value'
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server"
)

func main() { server.Main(gateway.AppFunc(environ), server.Options{}) }

var headers = []gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}}

// oneLine: a decoded path may have line ends.
var oneLine = strings.NewReplacer("\r", "\\r", "\n", "\\n")

func environ(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	var lines []string
	for key, value := range env.All() {
		if _, ok := value.(func(*os.File) gateway.Body); ok {
			value = "gateway.File" // and not its address
		}
		lines = append(lines, fmt.Sprintf("%s = %s\n", key, oneLine.Replace(fmt.Sprint(value))))
	}
	slices.Sort(lines)
	if _, err := start("200 OK", headers, nil); err != nil {
		return nil, err
	}
	return env.Text(strings.Join(lines, "")), nil
}
