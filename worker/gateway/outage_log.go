package gateway

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/hold"
)

// outageLogInterval is how often an outage is logged while it lasts. The
// breaker opens again every few seconds.
const outageLogInterval = time.Minute

// outageLog logs when Stripe becomes unavailable and when it answers again.
type outageLog struct {
	log     *zap.Logger
	address string // of the API; empty if it is not known

	mu        sync.Mutex
	since     time.Time   // of the first call in a row without an answer
	loggedAt  time.Time   // when the outage was last logged; zero: not yet
	lastError hold.Answer // of the last call without an answer
}

// recordUnanswered records a call without an answer.
func (l *outageLog) recordUnanswered(a hold.Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() {
		l.since = time.Now()
	}
	l.lastError = a
}

// forgetUnloggedOutage records that Stripe answered. An outage that was logged ends
// with [outageLog.logEnd].
func (l *outageLog) forgetUnloggedOutage() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.loggedAt.IsZero() {
		l.since = time.Time{}
	}
}

// logOutage logs the outage, unless it was logged less than a minute ago.
func (l *outageLog) logOutage() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !l.loggedAt.IsZero() && now.Sub(l.loggedAt) < outageLogInterval {
		return
	}
	l.loggedAt = now
	fields := []zap.Field{zap.String("address", l.address),
		zap.String("cause", l.lastError.Message), zap.Time("since", l.since.UTC())}
	if id := l.lastError.RequestID; id != "" {
		fields = append(fields, zap.String("request_id", id))
	}
	l.log.Error("Stripe unavailable: claims paused; one call is tried every few seconds",
		fields...)
}

// logEnd logs the end of the outage.
func (l *outageLog) logEnd() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log.Info("Stripe available again", zap.String("address", l.address),
		zap.Time("since", l.since.UTC()), zap.Duration("unavailable_for", time.Since(l.since)))
	l.since, l.loggedAt = time.Time{}, time.Time{}
}
