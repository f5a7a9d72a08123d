package alert

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"time"

	"github.com/holdd/holdd/worker/execute"
)

// deliveryResultCode is the result of one attempt. The set is closed.
type deliveryResultCode uint8

const (
	resultDelivered  deliveryResultCode = iota + 1
	resultRejected                      // because of this message; others may be accepted
	resultFailed                        // because of the message or of the sink
	resultRetryLater                    // too many requests
	resultGone                          // the receiver asked for no more events
)

var resultNames = [...]string{"", "delivered", "rejected", "failed", "retry_later", "gone"}

// deliveryOutcome is the outcome of one attempt. Its reason is safe for logs:
// it has no address and no secret.
type deliveryOutcome struct {
	result     deliveryResultCode
	retryAfter time.Duration // as the receiver asked
	status     int           // of the response; 0 without one
	reason     string
}

// sink is a receiver of events or alerts.
type sink struct {
	name          string // a label of metrics and a part of Redis keys
	addressDigest string
	minSeverity   Severity // 0 means every event, alert or not
	takesDigests  bool     // several alerts are sent as one message
	// tracksIncidents says that the receiver closes an incident by the key that
	// opened it. Alerts that can be resolved are sent to it one by one.
	tracksIncidents bool
	maxConcurrent   int
	send            func(ctx context.Context, m []sinkMessage) deliveryOutcome
}

// hashSinkAddress tells addresses apart without repeating them.
func hashSinkAddress(address string) string {
	sum := sha256.Sum256([]byte("holdd sink " + address))
	return hex.EncodeToString(sum[:4])
}

const (
	sinkBackoffMin     = 5 * time.Second
	sinkBackoffMax     = 10 * time.Minute
	maxRetryAfter      = time.Hour
	reportFailingAfter = 15 * time.Minute
)

// sinkHealth is whether a sink accepts events, and when it is tried again.
type sinkHealth struct {
	FailingSince  time.Time `json:"failing_since,omitzero"`
	Attempts      int       `json:"attempts,omitempty"` // without success
	NextAttemptAt time.Time `json:"next_attempt_at,omitzero"`
	Reason        string    `json:"reason,omitempty"` // of the last failure
	// DisabledAddress is the digest of the address that answered 410 Gone.
	DisabledAddress string `json:"disabled_address,omitempty"`
	FailureReported bool   `json:"failure_reported,omitempty"` // as sink.failing
}

// hasFailedAttempts reports whether a sink that failed is tried with few events.
func (h *sinkHealth) hasFailedAttempts() bool { return h.Attempts > 0 }

// recordFailure sets when a failed sink is tried again. began is true for the
// first failure in a row.
func (h *sinkHealth) recordFailure(out *deliveryOutcome, now time.Time) (began bool) {
	h.Attempts++
	h.Reason = out.reason
	h.NextAttemptAt = now.Add(max(jitteredBackoff(h.Attempts, sinkBackoffMin, sinkBackoffMax),
		min(out.retryAfter, maxRetryAfter)))
	if h.FailingSince.IsZero() {
		h.FailingSince = now
		return true
	}
	return false
}

// recordRateLimited sets when a sink that limits the rate is tried again.
func (h *sinkHealth) recordRateLimited(out *deliveryOutcome, now time.Time) {
	h.Reason = out.reason
	h.NextAttemptAt = now.Add(min(max(out.retryAfter, time.Second), maxRetryAfter))
}

// recordRecovery forgets the failures.
func (h *sinkHealth) recordRecovery() {
	h.Attempts, h.FailingSince, h.NextAttemptAt, h.Reason = 0, time.Time{}, time.Time{}, ""
}

// needsHealthReport reports whether the sink has failed, or has recovered,
// for so long that the operator must know.
func (h *sinkHealth) needsHealthReport(now time.Time) (failing, needed bool) {
	failing = !h.FailingSince.IsZero() && now.Sub(h.FailingSince) >= reportFailingAfter
	return failing, failing != h.FailureReported
}

// jitteredBackoff is [execute.Backoff] with a jitter of a tenth either way, so
// that what failed together is not retried together.
func jitteredBackoff(attempts int, base, limit time.Duration) time.Duration {
	d := execute.Backoff(attempts, base, limit)
	return d - d/10 + rand.N(d/5+1)
}

// utcNow is this machine's clock. Deliveries wait for minutes and days, and no
// hold waits for them, so Redis' clock is not needed.
func utcNow() time.Time { return time.Now().UTC() }
