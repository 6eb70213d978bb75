package settings

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Normal returns the normal form of the text of a value, or of one value of a list: 90 for a Duration is 1m30s. The
// error says what a value looks like, and for some mistakes what to write.
func (s *Setting) Normal(text string) (string, error) {
	word := strings.ToLower(text)
	if s.None && word == "none" || s.Auto && word == "auto" {
		return word, nil
	}
	normal, n, err := s.parse(text)
	if err != nil {
		return "", err
	}
	switch s.Kind {
	case Int, Duration, Bytes:
		if n < s.Min || s.Max > 0 && n > s.Max {
			return "", s.wrong()
		}
	}
	return normal, nil
}

// parse returns the normal form of a text that is not a word such as none, and its number.
func (s *Setting) parse(text string) (normal string, n int64, err error) {
	switch s.Kind {
	case Bool:
		switch strings.ToLower(text) {
		case "true", "yes", "on", "1":
			return "true", 1, nil
		case "false", "no", "off", "0":
			return "false", 0, nil
		}
	case Int:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return strconv.FormatInt(n, 10), n, nil
		}
	case Duration:
		d, ok := parseDuration(text)
		if ok {
			return formatDuration(d), int64(d), nil
		}
	case Bytes:
		return s.parseBytes(text)
	case Mode:
		if n, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32); err == nil && n <= 0o777 {
			return fmt.Sprintf("%#04o", n), int64(n), nil
		}
	case Enum:
		if word := strings.ToLower(text); slices.Contains(s.Values, word) {
			return word, 0, nil
		}
	case Pair:
		if name, _, ok := strings.Cut(text, "="); ok && name != "" {
			return text, 0, nil
		}
	default:
		if strings.TrimSpace(text) == "" {
			return "", 0, errors.New("must not be empty; leave the setting out for its default")
		}
		if !strings.ContainsAny(text, "\x00\r\n") {
			return text, 0, nil
		}
	}
	return "", 0, s.wrong()
}

// wrong is the error of a value that the setting does not take.
func (s *Setting) wrong() error { return errors.New("must be " + s.want()) }

// want says what a value looks like: a number from 1 to 512, or "auto".
func (s *Setting) want() string {
	var what string
	switch s.Kind {
	case Bool:
		what = "true or false"
	case Int:
		what = "a number" + s.bounds(func(n int64) string { return strconv.FormatInt(n, 10) })
	case Duration:
		format := func(n int64) string { return formatDuration(time.Duration(n)) }
		what = "a duration" + s.bounds(format) + s.examples("250ms", "30s", "5m")
	case Bytes:
		what = "a size" + s.bounds(formatBytes) + s.examples("1024", "4KiB", "64KiB", "1MiB")
	case Mode:
		what = "a file mode in octal, such as 0660"
	case Enum:
		what = "one of " + strings.Join(s.Values, ", ")
	case Pair:
		what = "a pair " + cmp.Or(s.Arg, "NAME=VALUE")
	default:
		what = "a text of one line"
	}
	var words []string
	if s.None {
		words = append(words, `"none"`)
	}
	if s.Auto {
		words = append(words, `"auto"`)
	}
	if len(words) > 0 {
		what += ", or " + strings.Join(words, " or ")
	}
	return what
}

func (s *Setting) bounds(format func(int64) string) string {
	switch {
	case s.Max > 0:
		return " from " + format(s.Min) + " to " + format(s.Max)
	case s.Min == 1 && s.Kind == Duration:
		return " over 0"
	case s.Min > 0:
		return " of at least " + format(s.Min)
	}
	return ""
}

// examples are those of the texts that the setting takes, three at most: the last of them.
func (s *Setting) examples(texts ...string) string {
	texts = slices.DeleteFunc(texts, func(text string) bool {
		_, n, err := s.parse(text)
		return err != nil || n < s.Min || s.Max > 0 && n > s.Max
	})
	return ", such as " + enumerate(texts[max(0, len(texts)-3):])
}

// enumerate is a list of alternatives: a, b or c.
func enumerate(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// parseDuration takes what time.ParseDuration takes, and a number of seconds. It refuses negative ones.
func parseDuration(text string) (time.Duration, bool) {
	if d, err := time.ParseDuration(text); err == nil {
		return d, d >= 0
	}
	if strings.Trim(text, "0123456789.") != "" { // no exponent, no Inf
		return 0, false
	}
	d, err := time.ParseDuration(text + "s")
	return d, err == nil
}

// formatDuration is d without the zeros at the end of Duration.String: 2m in place of 2m0s.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

var sizeUnits = []struct {
	suffix string
	shift  int
}{{"gib", 30}, {"g", 30}, {"mib", 20}, {"m", 20}, {"kib", 10}, {"k", 10}, {"", 0}}

func (s *Setting) parseBytes(text string) (string, int64, error) {
	lower := strings.ToLower(text)
	digits := strings.TrimRight(lower, "abcdefghijklmnopqrstuvwxyz")
	unit := strings.TrimSpace(lower[len(digits):])
	n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
	if err != nil {
		return "", 0, s.wrong()
	}
	for _, u := range sizeUnits {
		if u.suffix == unit && bits.Len64(n)+u.shift < 64 {
			bytes := int64(n) << u.shift
			return formatBytes(bytes), bytes, nil
		}
	}
	if i := slices.Index([]string{"kb", "mb", "gb"}, unit); i >= 0 && n < math.MaxInt32 {
		binary := []string{"KiB", "MiB", "GiB"}[i]
		return "", 0, fmt.Errorf("%s may be 1000 or 1024 to the unit; write %d%s or %d%s",
			text, n, binary, n, strings.Repeat("000", i+1))
	}
	return "", 0, s.wrong()
}

// formatBytes is n with the largest unit of which it is a multiple.
func formatBytes(n int64) string {
	for _, u := range []struct {
		suffix string
		shift  int
	}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if n != 0 && n%(1<<u.shift) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}
