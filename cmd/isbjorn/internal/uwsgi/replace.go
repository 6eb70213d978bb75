package uwsgi

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/isbjorn/isbjorn/internal/settings"
)

const (
	replacementsMax = 256      // in one value: more are a circle
	valueMax        = 64 << 10 // bytes of a value, and of an @(file)
)

// magic has the texts of %d and the like.
type magic struct {
	texts map[byte]string
}

func newMagic() magic {
	m := magic{texts: map[byte]string{'%': "%", '(': "%("}}
	m.texts['v'], _ = os.Getwd()
	m.texts['h'], _ = os.Hostname()
	m.texts['k'] = strconv.Itoa(runtime.NumCPU())
	m.texts['t'] = strconv.FormatInt(time.Now().Unix(), 10)
	m.texts['u'], m.texts['g'] = strconv.Itoa(os.Getuid()), strconv.Itoa(os.Getgid())
	m.texts['U'], m.texts['G'] = m.texts['u'], m.texts['g']
	if u, err := user.Current(); err == nil {
		m.texts['U'] = u.Username
	}
	if g, err := user.LookupGroupId(m.texts['g']); err == nil {
		m.texts['G'] = g.Name
	}
	return m
}

// set is for the file that is read now, whose name may have a section; the capital letters keep what the first has.
func (m *magic) set(name string, first bool) {
	file, _ := splitSection(name)
	section := strings.TrimPrefix(name[len(file):], ":") // %x is empty for a name without one
	path, err := filepath.Abs(file)
	if err != nil {
		path = file
	}
	dir, base := filepath.Split(path)
	texts := map[byte]string{'o': file, 'p': path, 's': base, 'd': dir, 'c': filepath.Base(dir), 'x': section,
		'n': base, 'e': ""}
	if i := strings.LastIndexByte(base, '.'); i >= 0 {
		texts['n'], texts['e'] = base[:i], base[i+1:]
	}
	parts := strings.Split(strings.Trim(dir, "/"), "/")
	for i := range min(len(parts), 10) {
		texts[byte('0'+i)] = parts[i]
	}
	old := m.texts
	m.texts = map[byte]string{}
	for letter, text := range old {
		m.texts[letter] = text
	}
	for letter, text := range texts {
		m.texts[letter] = text
		if first && 'a' <= letter && letter <= 'z' {
			m.texts[letter-'a'+'A'] = text
		}
	}
}

// replace replaces %d and the like in a line. wrong is the first % with a letter that stands for nothing, "" if there
// is none: uWSGI drops both.
func (m *magic) replace(line string) (replaced, wrong string) {
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		if line[i] != '%' {
			b.WriteByte(line[i])
			continue
		}
		end := min(i+2, len(line))
		text, ok := m.texts[line[end-1]]
		if wrong == "" && (!ok || end == i+1) {
			wrong = line[i:end]
		}
		b.WriteString(text)
		i++
	}
	return b.String(), wrong
}

// replaceAll replaces $(VARIABLE) in all values, then @(file), then %(name).
func (r *reader) replaceAll() {
	for _, e := range r.entries {
		e.value = r.pass('$', e, r.variable)
	}
	for _, e := range r.entries {
		e.value = r.pass('@', e, r.content)
	}
	for _, e := range r.entries {
		e.value = r.pass('%', e, r.placeholder)
	}
}

// pass replaces symbol(key) in the value of e by what of returns, and what that has in turn. A text that of refuses
// is left.
func (r *reader) pass(symbol byte, e *entry, of func(key string, e *entry) (string, bool)) string {
	value := e.value
	n := 0
	for i := 0; i+1 < len(value); i++ {
		if value[i] != symbol || value[i+1] != '(' {
			continue
		}
		end := closing(value, i+2)
		if end <= i+2 { // none, or nothing inside
			continue
		}
		text, ok := of(value[i+2:end], e)
		if !ok {
			continue
		}
		value = value[:i] + text + value[end+1:]
		if n++; n > replacementsMax || len(value) > valueMax {
			r.unreplaced(e, "", fmt.Sprintf("%c(...) in its value refers to itself, or is too long", symbol), "")
			return ""
		}
		i--
	}
	return value
}

// unreplaced says why something in the value of an entry cannot be replaced.
func (r *reader) unreplaced(e *entry, value, message, mend string) {
	e.wrong = true
	r.Say(settings.Error, e.at, e.name, value, message, mend)
}

// closing is the place of the parenthesis that closes the one before start; -1 if there is none.
func closing(text string, start int) int {
	depth := 0
	for i := start; i < len(text); i++ {
		switch text[i] {
		case '(':
			depth++
		case ')':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

// variable is the text of $(NAME), $(NAME-default) or $(NAME:-default).
func (r *reader) variable(key string, e *entry) (string, bool) {
	name, otherwise, hasDefault := strings.Cut(key, "-")
	orEmpty := strings.HasSuffix(name, ":") && hasDefault
	name = strings.TrimSuffix(name, ":")
	value, ok := os.LookupEnv(name)
	switch {
	case ok && (value != "" || !orEmpty):
		return value, true
	case hasDefault:
		return otherwise, true
	case name == "HOSTNAME":
		host, err := os.Hostname()
		if err != nil {
			break
		}
		hosts, _ := readSome(hostsFile)
		if !r.hostname {
			r.hostname = true
			r.Say(settings.Hint, e.at, e.name, "", "HOSTNAME is a variable of the shell that is not exported; "+
				"$(HOSTNAME) is the name of this host, "+host+aloneHint(hosts, host), "")
		}
		return host, true
	}
	r.unreplaced(e, e.raw, "the variable "+name+" is not set",
		"export it, or write $("+name+":-VALUE)")
	return "", true
}

// hostsFile has the addresses of names.
const hostsFile = "/etc/hosts"

// aloneHint says that the hosts of hostsFile have a loopback address for a name, as Debian writes it for the host's.
func aloneHint(hosts, host string) string {
	for line := range strings.Lines(hosts) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		for i, name := range fields {
			addr, err := netip.ParseAddr(fields[0])
			if i > 0 && name == host && err == nil {
				if addr.IsLoopback() {
					return "; " + hostsFile + " has " + fields[0] + " for it, so it is reachable from this machine alone"
				}
				return ""
			}
		}
	}
	return ""
}

// content is the text of @(file).
func (r *reader) content(key string, e *entry) (string, bool) {
	if strings.Contains(key, "://") {
		r.unreplaced(e, e.raw, "@(...) reads files alone", "write what it returns into a file")
		return "", true
	}
	text, err := readSome(key)
	if err != nil {
		r.unreplaced(e, e.raw, key+": "+reason(err), "")
		return "", true
	}
	return strings.TrimRight(text, "\r\n"), true
}

// readSome reads a file, valueMax bytes at most.
func readSome(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, valueMax))
	return string(data), err
}

// ownPercent are the options whose values have %(...) of their own.
var ownPercent = map[string]bool{"log-format": true, "logformat": true, "log-encoder": true, "log-req-encoder": true}

// placeholder is the text of %(name), or of a sum: %(%k + 1).
func (r *reader) placeholder(key string, e *entry) (string, bool) {
	if !strings.Contains(key, " ") {
		value, ok := r.first(key, e)
		if !ok && !ownPercent[e.name] {
			r.unreplaced(e, e.raw, "%("+key+") is the name of no option and no placeholder", "")
			return "", true
		}
		return value, ok
	}
	result, operator := "", ""
	for _, word := range strings.Fields(key) {
		switch word {
		case "+", "-", "*", "/":
			operator = word
			continue
		case "++":
			result, operator = strconv.FormatInt(head(result)+1, 10), ""
			continue
		case "--":
			result, operator = strconv.FormatInt(head(result)-1, 10), ""
			continue
		}
		value := word
		if strings.Trim(word, "0123456789") != "" {
			var ok bool
			if value, ok = r.first(word, e); !ok {
				r.unreplaced(e, e.raw, word+" is the name of no option and no placeholder", "")
				return "", true
			}
		}
		a, b := head(result), head(value)
		switch operator {
		case "+":
			a += b
		case "-":
			a -= b
		case "*":
			a *= b
		case "/":
			if b == 0 {
				a = 0
			} else {
				a /= b
			}
		default:
			result += value
			continue
		}
		result, operator = strconv.FormatInt(a, 10), ""
	}
	return result, true
}

// first is the value of the first option with a name, as uWSGI looks it up for the value of e.
func (r *reader) first(name string, e *entry) (string, bool) {
	for _, other := range r.entries {
		if other.name == name {
			e.wrong = e.wrong || other.wrong
			return other.value, true
		}
	}
	return "", false
}

// head is the number at the front of a text, as strtoll of C reads it.
func head(text string) int64 {
	text = strings.TrimLeft(text, " \t")
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9' || end == 0 && (text[end] == '-' || text[end] == '+')) {
		end++
	}
	n, _ := strconv.ParseInt(text[:end], 10, 64)
	return n
}

// used has the names in all %(...) of the values.
func (r *reader) used() map[string]bool {
	names := map[string]bool{}
	for _, e := range r.entries {
		for i := 0; i+1 < len(e.raw); i++ {
			if e.raw[i] != '%' || e.raw[i+1] != '(' {
				continue
			}
			if end := closing(e.raw, i+2); end > 0 {
				for _, word := range strings.Fields(e.raw[i+2 : end]) {
					names[word] = true
				}
			}
		}
	}
	return names
}
