package server

import (
	"reflect"
	"runtime"
)

// The monitor and job.stack search stack traces for functions of this package. The names come from the
// functions themselves, so that a rename cannot make a search fail in silence; TestSymbols finds each in a
// real trace.
var (
	inWork  = inTrace((*job).work)
	inServe = inTrace((*exchange).callServe)
	inCall  = inTrace((*exchange).callApp)
)

// inTrace returns how a stack trace shows a call of f, a function or a method expression, up to its arguments:
// "path/of/package.(*type).method(".
func inTrace(f any) string {
	return runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name() + "("
}
