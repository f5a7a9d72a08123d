package api

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseLookahead parses a duration such as 24h, 90m, 3d or 1d12h: Go's syntax,
// after an optional number of 24-hour days. The result is above zero and at
// most 90 days.
func ParseLookahead(s string) (time.Duration, error) {
	invalid := fmt.Errorf(
		"invalid duration %.40q: want one above zero and up to 90d, such as 24h, 90m or 3d", s)
	var total time.Duration
	rest := s
	if days, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil || n > 90 {
			return 0, invalid
		}
		total, rest = time.Duration(n)*24*time.Hour, after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || d > maxPlanAhead {
			return 0, invalid
		}
		total += d
	}
	if total <= 0 || total > maxPlanAhead {
		return 0, invalid
	}
	return total, nil
}
