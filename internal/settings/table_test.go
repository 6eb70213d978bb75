package settings

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every row is whole: its default is in normal form, its names are unique for each command, and it has a help.
func TestTable(t *testing.T) {
	for c := Program; c <= Run; c <<= 1 {
		keys, flags, shorts := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, s := range Of(c) {
			for _, flag := range []string{s.Flag(c), s.Alias} {
				if flag != "" && flags[flag] {
					t.Errorf("%v: two settings have the flag --%s", c, flag)
				}
				flags[flag] = true
			}
			if keys[s.Key] || s.Short != "" && shorts[s.Short] {
				t.Errorf("%v: %s or -%s is there twice", c, s.Key, s.Short)
			}
			keys[s.Key], shorts[s.Short] = true, true
		}
	}
	for _, s := range All() {
		if !regexp.MustCompile(`^([a-z]+\.)?[a-z][a-z_]*$`).MatchString(s.Key) {
			t.Errorf("key %s", s.Key)
		}
		if injected().MatchString(s.Variable()) {
			t.Errorf("%s is a variable that Kubernetes sets for a Service", s.Variable())
		}
		for _, text := range s.defaults() {
			if normal, err := s.Normal(text); err != nil || normal != text {
				t.Errorf("%s: default %q is %q, %v", s.Key, text, normal, err)
			}
		}
		if s.Default == "" && !s.List && s.Kind != Text {
			t.Errorf("%s has no default", s.Key)
		}
		if s.Help == "" || strings.HasSuffix(s.Help, ".") || !slices.Contains(groups, s.Group) || s.For == 0 {
			t.Errorf("%s: help %q, group %q", s.Key, s.Help, s.Group)
		}
		if s.Common&^s.For != 0 {
			t.Errorf("%s is common where it is not used", s.Key)
		}
		if (s.Kind == Enum) != (s.Values != nil) {
			t.Errorf("%s: values %v", s.Key, s.Values)
		}
		if s.Option != "" && s.Key != keyOf(s.Option) {
			t.Errorf("%s is the option %s, whose key is %s", s.Key, s.Option, keyOf(s.Option))
		}
	}
}

// A name of gunicorn or of uWSGI is that of one setting, so that a converter has no choice.
func TestForeignNames(t *testing.T) {
	for _, column := range []string{"Gunicorn", "UWSGI"} {
		of := map[string]string{}
		for _, s := range All() {
			for _, name := range reflect.ValueOf(s).Elem().FieldByName(column).Interface().([]string) {
				if other := of[name]; other != "" && other != s.Key {
					t.Errorf("%s: %s is %s and %s", column, name, other, s.Key)
				}
				of[name] = s.Key
			}
		}
	}
}

func TestNormal(t *testing.T) {
	row := func(s Setting) *Setting { return &s }
	size := row(Setting{Kind: Bytes, Min: 1, None: true})
	time := row(Setting{Kind: Duration, Min: 1})
	for _, tt := range []struct {
		s          *Setting
		text, want string // want is the normal form, or a part of the error behind "!"
	}{
		{row(Setting{Kind: Bool}), "Yes", "true"}, {row(Setting{Kind: Bool}), "0", "false"}, {row(Setting{Kind: Bool}), "2", "!true or false"},
		{row(Setting{Kind: Bool}), "none", "!true or false"},
		{row(Setting{Kind: Int, Min: 1, Max: 512, Auto: true}), "eight", `!a number from 1 to 512, or "auto"`},
		{row(Setting{Kind: Int, Min: 1, Max: 512}), "512", "512"}, {row(Setting{Kind: Int, Min: 1, Max: 512}), "513", "!from 1 to 512"},
		{row(Setting{Kind: Int, Min: 1}), "0", "!of at least 1"}, {row(Setting{Kind: Int}), "08", "8"}, {row(Setting{Kind: Int}), "1e3", "!a number"},
		{row(Setting{Kind: Int}), "99999999999999999999", "!a number"}, {row(Setting{Kind: Int}), "-1", "!a number"}, {row(Setting{Kind: Int}), "", "!a number"},
		{time, "7", "7s"}, {time, "1.5", "1.5s"}, {time, "90", "1m30s"}, {time, "120s", "2m"}, {time, "3600", "1h"}, {time, "10m", "10m"},
		{time, "250ms", "250ms"}, {time, "1h30m", "1h30m"}, {time, "0", "!must be a duration over 0, such as 250ms, 30s or 5m"}, {time, "-1s", "!a duration"}, {time, "5 s", "!a duration"},
		{time, "1e3", "!a duration"}, {time, "inf", "!a duration"}, {time, "5sec", "!a duration"}, {time, "none", "!a duration"}, {time, "", "!a duration"},
		{time, "9223372037", "!a duration"}, {time, "2540400h10m", "2540400h10m"},
		{size, "1", "1"}, {size, "65536", "64KiB"}, {size, "64k", "64KiB"}, {size, "1m", "1MiB"}, {size, "1 MiB", "1MiB"}, {size, "2G", "2GiB"}, {size, "1000", "1000"},
		{size, "64KB", "!write 64KiB or 64000"}, {size, "2mb", "!write 2MiB or 2000000"}, {size, "1.5m", "!a size"}, {size, "none", "none"}, {size, "0", "!of at least 1"},
		{size, "9223372036854775807", "9223372036854775807"}, {size, "8589934592g", "!a size"}, {size, "k", "!a size"}, {size, "", "!a size"}, {size, "-1", "!a size"},
		{row(Setting{Kind: Bytes, Min: 1 << 20}), "1", "!of at least 1MiB, such as 1MiB"}, {row(Setting{Kind: Bytes, Min: 16, Max: 4095}), "1", "!from 16 to 4095, such as 1024"},
		{row(Setting{Kind: Duration, Min: 1e9, Max: 6e10}), "0", "!a duration from 1s to 1m, such as 30s"}, {row(Setting{Kind: Duration}), "x", "!a duration, such as"},
		{row(Setting{Kind: Mode}), "660", "0660"}, {row(Setting{Kind: Mode}), "0o600", "0600"}, {row(Setting{Kind: Mode}), "0", "0000"}, {row(Setting{Kind: Mode}), "1777", "!in octal"}, {row(Setting{Kind: Mode}), "8", "!in octal"},
		{row(Setting{Kind: Enum, Values: []string{"a", "b"}}), "B", "b"}, {row(Setting{Kind: Enum, Values: []string{"a", "b"}}), "c", "!one of a, b"},
		{row(Setting{Kind: Pair, Arg: "PATH=DIR"}), "/=x", "/=x"}, {row(Setting{Kind: Pair, Arg: "PATH=DIR"}), "x", "!a pair PATH=DIR"}, {row(Setting{Kind: Pair}), "=x", "!a pair NAME=VALUE"},
		{row(Setting{}), "a b", "a b"}, {row(Setting{}), "a\nb", "!one line"}, {row(Setting{}), "a\x00b", "!one line"},
	} {
		got, err := tt.s.Normal(tt.text)
		if part, refused := strings.CutPrefix(tt.want, "!"); refused {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%v %q: %q, %v; want an error with %q", tt.s.Kind, tt.text, got, err, part)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%v %q: %q, %v; want %q", tt.s.Kind, tt.text, got, err, tt.want)
		}
		if again, err := tt.s.Normal(got); err != nil || again != got {
			t.Errorf("normal form %q of %q becomes %q, %v", got, tt.text, again, err)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	list := []string{"head-timeout", "head-bytes", "tls-cert", "idle-timeout", "body-timeout", "static"}
	for name, want := range map[string]string{
		"stat": "did you mean --static?", "head": "did you mean --head-timeout or --head-bytes?", "idle-timeuot": "did you mean --idle-timeout?",
		"timeout": "did you mean --head-timeout, --idle-timeout or --body-timeout?", "he": "", "": "", "other": "",
	} {
		if got := DidYouMean(name, list, "--"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	many := strings.Fields("aaaa-key bbbb-key cccc-key dddd-key eeee-key ffff-key gggg-key hhhh-key")
	if got := DidYouMean("-key", many, ""); !strings.HasSuffix(got, "gggg-key or hhhh-key?") || DidYouMean("-key", append(many, "iiii-key"), "") != "" {
		t.Error(got)
	}
	if got := didYouMeanKey("to", Proxy); got != "did you mean proxy.to?" {
		t.Error(got)
	}
}

func TestNearest(t *testing.T) {
	list := []string{"workers", "threads", "bind", "log.access", "log.file"}
	for name, want := range map[string]string{
		"worker": "workers", "wrokers": "workers", "workesr": "workers", "bnid": "bind", "log.acces": "log.access",
		"log.flie": "log.file", "bin": "bind", "xyz": "", "b": "", "": "", "workers": "workers", "entirely_else": "",
	} {
		if got := Nearest(name, list); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
