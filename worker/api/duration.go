package api

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads a length of time such as 24h, 90m, 3d or 1d12h: Go's
// durations, with days of 24 hours before them. It is above zero and no more
// than 90 days.
func ParseDuration(s string) (time.Duration, error) {
	wrong := fmt.Errorf(
		"%.40q is no length of time: send one such as 24h, 90m or 3d, above zero and up to 90d", s)
	var total time.Duration
	rest := s
	if days, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil || n > 90 {
			return 0, wrong
		}
		total, rest = time.Duration(n)*24*time.Hour, after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || d > maxPlanAhead {
			return 0, wrong
		}
		total += d
	}
	if total <= 0 || total > maxPlanAhead {
		return 0, wrong
	}
	return total, nil
}
