package gunicorn

import (
	"errors"
	"strings"
)

// splitWords splits a text into words as shlex.split of Python does, with which gunicorn reads GUNICORN_CMD_ARGS: by
// white space, with quotes and \. Inside of ” nothing is special, inside of "" a \ before " or \.
func splitWords(text string) (words []string, err error) {
	const space = " \t\r\n"
	var word strings.Builder
	open := false // a word has begun
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case strings.IndexByte(space, c) >= 0:
			if open {
				words = append(words, word.String())
				word.Reset()
				open = false
			}
			continue
		case c == '\\':
			if i++; i == len(text) {
				return nil, errors.New("nothing stands behind the \\ at its end")
			}
			word.WriteByte(text[i])
		case c == '\'' || c == '"':
			for i++; i < len(text) && text[i] != c; i++ {
				if c == '"' && text[i] == '\\' && i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\\') {
					i++
				}
				word.WriteByte(text[i])
			}
			if i == len(text) {
				return nil, errors.New("a quote is not closed")
			}
		default:
			word.WriteByte(c)
		}
		open = true
	}
	if open {
		words = append(words, word.String())
	}
	return words, nil
}
