package alert

import (
	"math/rand/v2"
	"time"

	"github.com/holdd/holdd/worker/execute"
)

// jitteredBackoff is [execute.Backoff] with a jitter of a tenth either way, so
// that what failed together is not retried together.
func jitteredBackoff(attempts int, base, limit time.Duration) time.Duration {
	d := execute.Backoff(attempts, base, limit)
	return d - d/10 + rand.N(d/5+1)
}

// utcNow is this machine's clock. Deliveries wait for minutes and days, and no
// hold waits for them, so Redis' clock is not needed.
func utcNow() time.Time { return time.Now().UTC() }
