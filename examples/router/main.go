// Router is a small JSON API: notes, in memory, that can be written, read, listed and
// deleted.
//
//	go run ./examples/router
//	curl -i http://127.0.0.1:8080/notes -d 'buy fish'
//	curl http://127.0.0.1:8080/notes/1
package main

import (
	"encoding/json"
	"log"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/middleware"
	"github.com/isbjorn/isbjorn/server"
)

// What clients can make the store hold: 1000 notes of 1 KiB.
const (
	notesMax  = 1000
	noteBytes = 1 << 10
)

// store is the notes; Serve runs on several goroutines at once.
type store struct {
	mu    sync.Mutex
	notes map[int]note
	last  int // ID
}

type note struct {
	ID   int    `json:"id"`
	Text string `json:"text"`
}

func main() {
	s := &store{notes: map[int]note{}}
	limit, err := middleware.BodyLimit(noteBytes)
	if err != nil {
		log.Fatal(err)
	}
	app, err := middleware.Router(
		middleware.Route{Method: "GET", Path: "/notes", App: gateway.AppFunc(s.list)},
		middleware.Route{Method: "POST", Path: "/notes", App: limit(gateway.AppFunc(s.add))},
		middleware.Route{Method: "GET", Path: "/notes/{id}", App: gateway.AppFunc(s.get)},
		middleware.Route{Method: "DELETE", Path: "/notes/{id}", App: gateway.AppFunc(s.remove)},
	)
	if err != nil {
		log.Fatal(err)
	}
	server.Main(app, server.Options{})
}

func (s *store) list(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	s.mu.Lock()
	ids := slices.AppendSeq([]int{}, maps.Keys(s.notes)) // none is [], not null
	s.mu.Unlock()
	slices.Sort(ids)
	return answer(start, "200 OK", map[string]any{"notes": ids})
}

func (s *store) add(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	text, err := env.Input().ReadAll()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	if len(s.notes) == notesMax {
		s.mu.Unlock()
		return problem(start, "507 Insufficient Storage", "delete a note first")
	}
	s.last++
	n := note{s.last, string(text)} // a copy: text is the server's
	s.notes[n.ID] = n
	s.mu.Unlock()
	return answer(start, "201 Created", n, gateway.Header{Name: "Location", Value: "/notes/" + strconv.Itoa(n.ID)})
}

func (s *store) get(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	n, ok := s.find(env, false)
	if !ok {
		return problem(start, "404 Not Found", "no such note")
	}
	return answer(start, "200 OK", n)
}

func (s *store) remove(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if _, ok := s.find(env, true); !ok {
		return problem(start, "404 Not Found", "no such note")
	}
	_, err := start("204 No Content", nil, nil)
	return nil, err
}

// find returns the note that the path names, and takes it out if it is to be removed.
func (s *store) find(env *gateway.Environ, remove bool) (n note, ok bool) {
	id, err := strconv.Atoi(middleware.Param(env, "id"))
	if err != nil {
		return n, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok = s.notes[id]
	if remove {
		delete(s.notes, id)
	}
	return n, ok
}

func problem(start gateway.StartResponse, status, why string) (gateway.Body, error) {
	return answer(start, status, map[string]string{"error": why})
}

// answer sends v as JSON.
func answer(start gateway.StartResponse, status string, v any, headers ...gateway.Header) (gateway.Body, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if _, err := start(status, append(headers, gateway.Header{Name: "Content-Type", Value: "application/json"}), nil); err != nil {
		return nil, err
	}
	return gateway.Bytes(append(b, '\n')), nil
}
