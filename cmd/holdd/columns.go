package main

import (
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	tableWidth     = 80
	columnGap      = 2
	narrowestLimit = 12
	// narrowestID is how many characters tell one cut id or booking from another.
	narrowestID = 16
)

// fitColumns returns the most characters of each column's cells. Columns that have a limit give
// way until a row fits the width of a table, the widest first. Those that are cut give way to
// narrowestID, then those that wrap to their longest word, then all to narrowestLimit.
func fitColumns[T any](columns []column[T], texts [][]string) []int {
	limits, used := make([]int, len(columns)), -columnGap
	readable, narrowest := make([]int, len(columns)), make([]int, len(columns))
	for n, c := range columns {
		word := 0
		for _, row := range texts {
			limits[n] = max(limits[n], utf8.RuneCountInString(row[n]))
			word = max(word, longestWord(row[n]))
		}
		if limits[n] == 0 {
			continue // the table leaves it out
		}
		narrowest[n] = max(narrowestLimit, len(c.title))
		if readable[n] = max(narrowestID, len(c.title)); c.wraps {
			readable[n] = max(narrowest[n], word)
		}
		if c.narrow > 0 {
			limits[n] = min(limits[n], c.narrow)
		}
		limits[n] = max(limits[n], len(c.title))
		used += limits[n] + columnGap
	}
	wanted := slices.Clone(limits)
	for _, least := range [][]int{readable, narrowest} {
		for _, wraps := range []bool{false, true} {
			for used > tableWidth {
				widest := widestLimitedColumn(columns, limits, least, wraps)
				if widest < 0 {
					break
				}
				limits[widest]--
				used--
			}
		}
	}
	passOnUnusedWidth(columns, texts, limits, wanted)
	return limits
}

// widestLimitedColumn returns the widest column that can give way, of those that wrap or of those
// that are cut, -1 if there is none.
func widestLimitedColumn[T any](columns []column[T], limits, least []int, wraps bool) int {
	widest := -1
	for n, c := range columns {
		if c.narrow > 0 && c.wraps == wraps && limits[n] > least[n] &&
			(widest < 0 || limits[n] > limits[widest]) {
			widest = n
		}
	}
	return widest
}

// passOnUnusedWidth narrows the columns that wrap to their widest line, and widens others by what
// that leaves: first those that then need no second line, then those that are cut.
func passOnUnusedWidth[T any](columns []column[T], texts [][]string, limits, wanted []int) {
	unused := 0
	var wrapped, cut []int
	for n, c := range columns {
		switch {
		case limits[n] == wanted[n]:
		case c.wraps:
			line := len(c.title)
			for _, row := range texts {
				for s := range strings.Lines(wrapText(row[n], limits[n])) {
					line = max(line, utf8.RuneCountInString(strings.TrimSuffix(s, "\n")))
				}
			}
			unused += limits[n] - line
			limits[n] = line
			wrapped = append(wrapped, n)
		default:
			cut = append(cut, n)
		}
	}
	slices.SortStableFunc(wrapped, func(a, b int) int {
		return (wanted[a] - limits[a]) - (wanted[b] - limits[b])
	})
	for _, n := range wrapped {
		if missing := wanted[n] - limits[n]; missing <= unused {
			limits[n], unused = wanted[n], unused-missing
		}
	}
	for _, n := range cut {
		more := min(wanted[n]-limits[n], unused)
		limits[n], unused = limits[n]+more, unused-more
	}
}

func longestWord(s string) (n int) {
	for _, word := range wordPattern.FindAllString(s, -1) {
		n = max(n, utf8.RuneCountInString(word))
	}
	return n
}
