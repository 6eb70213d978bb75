package wsgi

// StartError says why no worker serves.
type StartError struct {
	// App is true if Python runs, and the application cannot be loaded.
	App bool

	// Usage is true if the name of the application is at fault: it cannot be one, or several are meant.
	Usage bool

	err error
}

// Error has what went wrong, what to do, and the traceback of Python.
func (e *StartError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.err }
