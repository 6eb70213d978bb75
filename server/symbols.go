package server

import (
	"reflect"
	"runtime"
)

// Some decisions depend on what a goroutine is doing, which only its stack trace says. The
// names that are searched for in a trace come from the functions themselves, so that a
// rename cannot make a search fail in silence; TestSymbols finds each in a real trace.
var (
	inWork  = inTrace((*job).work)
	inServe = inTrace((*exchange).callServe)
	inCall  = inTrace((*exchange).callApp)
)

// inTrace returns the text that a call of f, a function or a method expression, has in the
// trace of its goroutine, up to its arguments: "path/of/package.(*type).method(".
func inTrace(f any) string {
	return runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name() + "("
}
