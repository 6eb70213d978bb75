package process

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
)

// prints is an output whose pipe the test has.
func prints(t *testing.T, log *records, number int) (*output, *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	o := newOutput(read, slog.New(log), number)
	go o.run()
	t.Cleanup(func() { _ = write.Close(); o.finish() })
	return o, write
}

// What is printed is in the log whatever it is, and what is there at the end of the process too, though a child of it
// has the pipe.
func TestOutput(t *testing.T) {
	long := strings.Repeat("x", 3*recordBytesMax/2)
	for _, test := range []struct{ name, text, want string }{
		{"a line", "one\n", "one"},
		{"lines", "one\n  two\nthree\n", "one\n  two\nthree"},
		{"without an end", "one\ntwo", "one\ntwo"},
		{"empty lines", "\n\n\n", ""},
		{"NUL, and what is not UTF-8", "a\x00b\xff\xc3(\n", "ab\ufffd("},
		{"a long line", long + "\n", long[:recordBytesMax] + "|" + long[recordBytesMax:]},
		{"many lines", strings.Repeat("0123456789\n", 20000), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := new(records)
			o, write := prints(t, log, 7)
			if _, err := write.WriteString(test.text); err != nil {
				t.Fatal(err)
			}
			o.finish()
			var got []string
			for _, line := range log.with() {
				if len(line) > recordBytesMax+100 {
					t.Errorf("a record of %d bytes", len(line))
				}
				text, ok := strings.CutSuffix(strings.TrimPrefix(line, "INFO "), " worker=7")
				if !ok {
					t.Errorf("record %q", line)
				}
				got = append(got, text)
			}
			if test.name == "many lines" {
				all := strings.Join(got, "\n") + "\n"
				if all != test.text {
					t.Errorf("%d bytes of records, want %d", len(all), len(test.text))
				}
				return
			}
			// A reader that the system interrupts may see two records where a line ends, or a part of a long one.
			joined := strings.Join(got, "|")
			if strings.NewReplacer("|", "", "\n", "").Replace(joined) != strings.NewReplacer("|", "", "\n", "").Replace(test.want) {
				t.Errorf("records %.200q, want %.200q", got, test.want)
			}
		})
	}
}

// What has no end yet is in the log after a moment.
func TestOutputPart(t *testing.T) {
	h := &host{t: t, log: new(records)}
	_, write := prints(t, h.log, 1)
	fmt.Fprint(write, "name? ")
	h.logs("INFO name? ")
	fmt.Fprint(write, "more\n")
	h.logs("INFO more")
}

// The tracebacks of two workers are not mixed.
func TestOutputTogether(t *testing.T) {
	h := &host{t: t, log: new(records)}
	var both sync.WaitGroup
	for number := range 2 {
		_, write := prints(t, h.log, number)
		both.Go(func() {
			for i := range 50 {
				fmt.Fprintf(write, "Traceback %d\n  line of %d\nError of %d\n", i, number, number)
			}
		})
	}
	both.Wait()
	for number := range 2 {
		h.until("all is there", func() bool {
			return strings.Count(strings.Join(h.log.with(fmt.Sprintf("worker=%d", number)), "\n"), "Traceback") == 50
		})
		for _, line := range h.log.with(fmt.Sprintf("worker=%d", number)) {
			if strings.Contains(line, fmt.Sprintf("of %d", 1-number)) || !strings.HasPrefix(line, "INFO Traceback") {
				t.Errorf("record %q", line)
			}
		}
	}
}

// The end is kept for the report of a death.
func TestOutputLast(t *testing.T) {
	o, write := prints(t, new(records), 1)
	for i := range 2000 {
		fmt.Fprintf(write, "line %d\n", i)
	}
	o.finish()
	if last := o.last(); len(last) != lastBytes || !strings.HasSuffix(last, "line 1999\n") {
		t.Errorf("%d bytes are kept: %.100q", len(last), last)
	}
	if got := lastLines(o.last()); strings.Count(got, "\n") != 19 || !strings.HasSuffix(got, "line 1999") {
		t.Errorf("last lines %q", got)
	}
}
