package settings

import (
	"slices"
	"strings"
)

// Nearest returns the word of list that is most like name, "" if none is like it: two letters apart at most, and a
// third of its length.
func Nearest(name string, list []string) string {
	best, distance := "", min(2, len(name)/3)+1
	for _, word := range list {
		if d := letters(name, word); d < distance {
			best, distance = word, d
		}
	}
	return best
}

// letters is how many letters must be added, dropped, changed, or exchanged with the next one, to make b of a
// (optimal string alignment).
func letters(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, now := rows[0], rows[1], rows[2]
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		rows[0], rows[1], rows[2] = last, now, before
	}
	return rows[1][len(b)]
}

const (
	// partMin is the least number of letters by which a word is found that has them as a part.
	partMin = 3

	// suggestedMax is how many words are suggested at most.
	suggestedMax = 8
)

// DidYouMean asks whether one of words was meant in place of name: the nearest, or else those that contain name. Each
// stands behind prefix. It is "" if there is none, or too many.
func DidYouMean(name string, words []string, prefix string) string {
	found := []string{Nearest(name, words)}
	if found[0] == "" {
		found = nil
		for _, word := range words {
			if len(name) >= partMin && strings.Contains(word, name) && !slices.Contains(found, word) {
				found = append(found, word)
			}
		}
	}
	if len(found) == 0 || len(found) > suggestedMax {
		return ""
	}
	for i := range found {
		found[i] = prefix + found[i]
	}
	return "did you mean " + enumerate(found) + "?"
}

// didYouMeanKey is DidYouMean for a key. The only one with its last part is meant: log.access by access.
func didYouMeanKey(key string, c Command) string {
	var keys, same []string
	for _, s := range Of(c) {
		if slices.Contains(keys, s.Key) {
			continue
		}
		keys = append(keys, s.Key)
		if _, name := s.split(); name == key {
			same = append(same, s.Key)
		}
	}
	if len(same) == 1 && Nearest(key, keys) == "" {
		return "did you mean " + same[0] + "?"
	}
	return DidYouMean(key, keys, "")
}
