package settings

import "slices"

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

// keyNearest returns the key that a wrong one may stand for: one like it, or the only one with its last part.
func keyNearest(key string, c Command) string {
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
	if near := Nearest(key, keys); near != "" || len(same) != 1 {
		return near
	}
	return same[0]
}
