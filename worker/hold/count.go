package hold

import "fmt"

// FormatCount formats a number with the words that follow it: "1 hold was", "2 holds were".
func FormatCount[N int | int64 | uint32](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
