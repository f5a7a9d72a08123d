package alert

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"
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

// digestAddress tells addresses apart without repeating them.
func digestAddress(address string) string {
	sum := sha256.Sum256([]byte("holdd sink " + address))
	return hex.EncodeToString(sum[:4])
}
