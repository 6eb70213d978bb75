package settings

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/settings.md anew")

// docs/settings.md is the table: go test ./internal/settings -run TestPage -update writes it.
func TestPage(t *testing.T) {
	const file = "../../docs/settings.md"
	page := page()
	if *update {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != page {
		t.Errorf("%s is not what the table says (%v); go test ./internal/settings -run TestPage -update", file, err)
	}
}

func page() string {
	var b strings.Builder
	b.WriteString(`# Settings

Made from the table in ` + "`internal/settings/rows.go`" + `; how settings are given, and which of them wins, is in
[operating.md](operating.md#settings). What the options of Go mean in detail is in [options.md](options.md).

The key is that of a file: ` + "`log.access`" + ` is ` + "`access`" + ` in the section ` + "`[log]`" + `. The flag of ` + "`head_timeout`" + ` is
` + "`--head-timeout`" + `, that of ` + "`log.access`" + ` is ` + "`--log-access`" + `; in the command with the name of the section it is left out:
` + "`static.index`" + ` is ` + "`--index`" + ` of ` + "`isbjorn static`" + `. The variables are ` + "`ISBJORN_HEAD_TIMEOUT`" + ` and ` + "`ISBJORN_LOG_ACCESS`" + `.

Durations are written ` + "`250ms`, `5s`, `2m`" + `, and a number alone is seconds; sizes ` + "`64KiB`, `1MiB`" + `, and a number alone is
bytes. Of a list the environment has the values with commas between them, and a flag is given several times.

What ` + "`isbjorn run`" + ` does not heed yet is a warning at its start: [wsgi.md](wsgi.md#what-it-does-not-do).
`)
	for _, group := range groups {
		fmt.Fprintf(&b, "\n## %s\n\n| key | default | what | value | used by | gunicorn | uWSGI |\n| --- | --- | --- | --- | --- | --- | --- |\n", group)
		for _, s := range All() {
			if s.Group != group {
				continue
			}
			value := strings.TrimPrefix(s.want(), "a ")
			value, _, _ = strings.Cut(value, ", such as")
			if s.Kind == Text && s.Arg != "" {
				value = s.Arg
			}
			for _, word := range []string{"none", "auto"} {
				if with := `"` + word + `"`; strings.Contains(s.want(), with) && !strings.Contains(value, with) {
					value += ", or " + with
				}
			}
			if s.List {
				value += "; a list"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", code(s.Key), code(s.literal(s.defaults())), cell(s.Help), cell(value),
				s.users(), code(s.Gunicorn...), code(s.UWSGI...))
		}
	}
	return b.String()
}

func code(words ...string) string {
	var list []string
	for _, word := range words {
		if word != "" {
			list = append(list, "`"+word+"`")
		}
	}
	return strings.Join(list, ", ")
}

func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

// docs/options.md has a row for each option that a setting fills, with the default of the table.
func TestOptionsPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/options.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{} // the default, by option
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); len(cells) > 3 {
			for option := range strings.SplitSeq(cells[1], ",") {
				rows[strings.Trim(strings.TrimSpace(option), "`")] = strings.TrimSpace(cells[2])
			}
		}
	}
	for _, s := range All() {
		if s.Option == "" || s.For&Program == 0 {
			continue
		}
		row, ok := rows[s.Option]
		if !ok {
			row, ok = rows["TLSOptions"+strings.TrimPrefix(s.Option, "TLS")]
		}
		if !ok {
			t.Errorf("no row for %s", s.Option)
			continue
		}
		if s.Default == "" || s.Auto || s.List {
			continue
		}
		// "32 KiB (at most 65,533 bytes)", "500 bytes a second; -1: none", "`drop`"
		words := strings.FieldsFunc(row, func(r rune) bool { return strings.ContainsRune(" ;(`,", r) })
		var defaults []string
		for n := 1; n <= min(2, len(words)); n++ {
			if normal, err := s.Normal(strings.ToLower(strings.Join(words[:n], ""))); err == nil {
				defaults = append(defaults, normal)
			}
		}
		if len(defaults) == 0 || defaults[len(defaults)-1] != s.Default && defaults[0] != s.Default {
			t.Errorf("%s: the page says %q, the table %s", s.Option, row, s.Default)
		}
	}
}
