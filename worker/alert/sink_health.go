package alert

import (
	"time"
)

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

// isFailing reports whether a sink that failed is tried with few events.
func (h *sinkHealth) isFailing() bool { return h.Attempts > 0 }

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

// pendingHealthReport reports whether the sink has failed, or has recovered,
// for so long that the operator must know.
func (h *sinkHealth) pendingHealthReport(now time.Time) (failing, needed bool) {
	failing = !h.FailingSince.IsZero() && now.Sub(h.FailingSince) >= reportFailingAfter
	return failing, failing != h.FailureReported
}
