//go:build linux

package process

import (
	"context"
	"fmt"
	"strings"
)

var background = context.Background()

// LoadError says why the application cannot be loaded.
type LoadError struct {
	Kind      string // usage, import, attribute, kind, call
	Message   string
	Mend      string // what to do; may be empty
	Traceback string // of Python, where its code has raised, and a line that says which Python it is
}

func (e *LoadError) Error() string {
	var b strings.Builder
	b.WriteString("the application cannot be loaded: " + e.Message)
	if e.Mend != "" {
		b.WriteString("\n" + e.Mend)
	}
	if e.Traceback != "" {
		b.WriteString("\n" + strings.TrimRight(e.Traceback, "\n"))
	}
	return b.String()
}

// BootError says why Python does not run.
type BootError struct {
	Python  string
	Message string
	Mend    string
	Output  string // the last that it has printed, or its stacks
}

func (e *BootError) Error() string {
	text := fmt.Sprintf("Python does not start (%s): %s", e.Python, e.Message)
	if e.Mend != "" {
		text += "\n" + e.Mend
	}
	if e.Output != "" {
		text += "\n" + strings.TrimRight(e.Output, "\n")
	}
	return text
}
