package thrown

import (
	"errors"
	"net/url"
	"runtime"
	"testing"
)

// end calls f on a new goroutine and returns why it has not returned, or "returned".
func end(f func()) (value any) {
	done := make(chan bool)
	go func() {
		defer close(done)
		returned := false
		defer func() {
			if value = "returned"; !returned {
				value = Value(recover())
			}
		}()
		f()
		returned = true
	}()
	<-done
	return value
}

func TestValue(t *testing.T) {
	broken := errors.New("broken")
	var isNil *runtime.PanicNilError
	for _, setting := range []string{"panicnil=0", "panicnil=1"} {
		t.Setenv("GODEBUG", setting)
		if got := end(func() {}); got != "returned" {
			t.Errorf("%s: %v", setting, got)
		}
		if got := end(func() { panic(broken) }); got != broken {
			t.Errorf("%s: %v", setting, got)
		}
		if got := end(runtime.Goexit); got != nil {
			t.Errorf("%s, Goexit: %v", setting, got)
		}
		for name, f := range map[string]func(){
			"panic(nil)": func() { panic(nil) },
			"panic(nil) in a function that Goexit runs": func() {
				defer func() { panic(nil) }()
				runtime.Goexit()
			},
		} {
			if err, ok := end(f).(error); !ok || !errors.As(err, &isNil) {
				t.Errorf("%s, %s: %v", setting, name, err)
			}
		}
		if got := end(func() {
			defer runtime.Goexit()
			panic(broken)
		}); got != nil {
			t.Errorf("%s, Goexit behind a panic: %v", setting, got)
		}
	}
}

func TestIs(t *testing.T) {
	target := errors.New("target")
	for name, tt := range map[string]struct {
		p  any
		is bool
	}{
		"nil":                {nil, false},
		"no error":           {"text", false},
		"another":            {errors.New("another"), false},
		"itself":             {target, true},
		"wrapped":            {errors.Join(errors.New("another"), target), true},
		"methods that panic": {(*url.Error)(nil), false},
	} {
		if got := Is(tt.p, target); got != tt.is {
			t.Errorf("%s: %v", name, got)
		}
	}
}
