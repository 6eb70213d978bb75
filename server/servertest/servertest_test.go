package servertest_test

import (
	"bytes"
	"fmt"
	"log"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server"
	"github.com/isbjorn/isbjorn/server/servertest"
)

func hello(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if _, err := start("200 OK", nil, nil); err != nil {
		return nil, err
	}
	return env.Text("Hello, World!"), nil
}

func ExampleOpenMemory() {
	s, err := server.New(gateway.AppFunc(hello), server.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	m := servertest.OpenMemory(s)
	m.Feed([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	status, _, _ := bytes.Cut(m.Out, []byte("\r\n"))
	fmt.Printf("%s\n", status)
	// Output: HTTP/1.1 200 OK
}

// A server of workers has no loop here that could take their answers.
func TestOpenMemoryOfPool(t *testing.T) {
	s, err := server.New(gateway.AppFunc(hello), server.Options{Dispatch: server.Pool})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	servertest.OpenMemory(s)
}
