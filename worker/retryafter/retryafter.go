// Package retryafter parses the header Retry-After of HTTP.
package retryafter

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

// maxWait bounds what a header may ask for. Its readers have lower bounds.
const maxWait = 24 * time.Hour

// Parse returns how long a header asks to wait from now on, at most a day. It
// has seconds or a date; one that has passed asks for no wait. ok is false for
// anything else.
func Parse(header string, now time.Time) (wait time.Duration, ok bool) {
	seconds, err := strconv.ParseUint(header, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, uint64(maxWait/time.Second))) * time.Second, true
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), maxWait), true
}
