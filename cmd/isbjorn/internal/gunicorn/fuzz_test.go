package gunicorn

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// python starts a program that answers each line, a text as JSON, with a line of JSON, and returns what asks it. The
// program has the text in text, and sets answer.
func python(f *testing.F, program string) func(t *testing.T, text string) (answer string) {
	needPython(f)
	cmd := exec.Command("python3", "-W", "ignore", "-c", `import ast, json, shlex, sys
for line in sys.stdin:
    text = json.loads(line)
    try:
        `+program+`
    except Exception:
        answer = "refused"
    print(json.dumps(answer), flush=True)
`)
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
	return func(t *testing.T, text string) string {
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
		answer, err := answers.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(answer)
	}
}

const refused = `"refused"`

// FuzzShlex: a text has the words that Python's shlex.split finds, and is refused where that refuses it.
func FuzzShlex(f *testing.F) {
	for _, text := range []string{"", " ", "a b", "-w 2 --bind=:80", `'a b' "c d"e\ f`, `"a\"b\\c\d"`, `'a\'`, `a\`, `"`, `''`, `""a''`, "a\tb\r\nc", `a'b`, "\\\n", `é "ü"`, "a#b #c"} {
		f.Add(text)
	}
	ask := python(f, "answer = shlex.split(text)")
	f.Fuzz(func(t *testing.T, text string) {
		answer := ask(t, text)
		var want []string
		if err := json.Unmarshal([]byte(answer), &want); (err != nil) != (answer == refused) {
			t.Fatal(answer, err)
		}
		got, err := splitWords(text)
		if (err != nil) != (answer == refused) || err == nil && !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; Python has %s", text, got, err, answer)
		}
	})
}

// FuzzLiteralValue: a literal that is read without Python has the value that Python gives it.
func FuzzLiteralValue(f *testing.F) {
	for _, text := range []string{"1", "-0x1F", "1_000", "0", "00", ".5e3", "'a\\x41' r'\\n' \"\"\"b\"\"\"", "[1, 'a', (2,), ()]", "{'a': None, \"b\": True}", "1, 2,", "('a' 'b')", "# x", "'\\\n'", "'\\777'", "1if 2else 3", "b'x'", "f''", "- 1", "007", "1.", "'a'#b"} {
		f.Add(text)
	}
	ask := python(f, `answer = "invalid"
        tree = None
        try:
            tree = ast.parse('x = ' + text)
        except Exception:
            pass
        if tree:
            answer = ast.literal_eval(tree.body[0].value)`)
	f.Fuzz(func(t *testing.T, text string) {
		list := statements("x = " + text)
		if len(list) != 1 || strings.ContainsAny(text, "{\r\f\x00") { // sets have no order
			return
		}
		got, ok := parseLiteral(strings.TrimPrefix(list[0].text, "x = "))
		if !ok {
			return
		}
		answer := ask(t, text)
		if answer == `"invalid"` {
			return // no program: gunicorn would not start with it
		}
		mine, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if json.Unmarshal(mine, &a) != nil || json.Unmarshal([]byte(answer), &b) != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%q: %s; Python has %s", text, mine, answer)
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
