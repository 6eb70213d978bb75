package gunicorn

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// shlexProgram answers each line, a text as JSON, with the words of it, or with null.
const shlexProgram = `import json, shlex, sys
for line in sys.stdin:
    try:
        words = shlex.split(json.loads(line))
    except ValueError:
        words = None
    print(json.dumps(words), flush=True)
`

// FuzzShlex: a text has the words that Python's shlex.split finds, and is refused where that refuses it.
func FuzzShlex(f *testing.F) {
	for _, text := range []string{"", " ", "a b", "-w 2 --bind=:80", `'a b' "c d"e\ f`, `"a\"b\\c\d"`, `'a\'`, `a\`, `"`, `''`, `""a''`, "a\tb\r\nc", `a'b`, "\\\n", `é "ü"`, "a#b #c"} {
		f.Add(text)
	}
	needPython(f)
	cmd := exec.Command("python3", "-c", shlexProgram)
	in, err := cmd.StdinPipe()
	if err != nil {
		f.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	answers := bufio.NewReader(out)
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || strings.ContainsRune(text, utf8.RuneError) {
			t.Skip("no text of Python")
		}
		question, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(append(question, '\n')); err != nil {
			t.Fatal(err)
		}
		answer, err := answers.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		if err := json.Unmarshal(answer, &want); err != nil {
			t.Fatal(err)
		}
		got, err := splitWords(text)
		if (err != nil) != (want == nil) || err == nil && !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; Python has %q", text, got, err, want)
		}
	})
}

// FuzzLiterals: whatever a file has, its statements have lines of it, in order, and a literal is data.
func FuzzLiterals(f *testing.F) {
	for _, tt := range settingTests {
		f.Add(tt.lines)
	}
	f.Add("x = '''a\n\\'''\ny=[1,{2:3},(4,)]\n\tz = -0.5e3 ; w = 0x_f\n")
	f.Fuzz(func(t *testing.T, text string) {
		last := 1
		for _, s := range statements(text) {
			if s.line < last || s.line > strings.Count(text, "\n")+1 || s.text == "" {
				t.Fatalf("%q: %+v", text, s)
			}
			last = s.line
		}
		for _, v := range literals(text, func(string) bool { return true }) {
			if _, err := json.Marshal(v.data); err != nil {
				t.Fatalf("%q: %s is %v", text, v.name, v.data)
			}
		}
	})
}
