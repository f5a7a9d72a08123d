package tracing

import (
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
)

// errorLogInterval is how often an error is logged while it lasts.
const errorLogInterval = time.Minute

// errorLog logs the errors of the SDK, at most one line a minute.
type errorLog struct {
	log *zap.Logger

	mu       sync.Mutex
	loggedAt time.Time
}

// Handle implements otel.ErrorHandler.
func (l *errorLog) Handle(err error) { l.warn(describeError(err)) }

func (l *errorLog) warn(cause string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.loggedAt) >= errorLogInterval {
		l.loggedAt = now
		l.log.Warn("traces incomplete: spans were not sent; holds are not affected",
			zap.String("cause", cause))
	}
}

// newSDKLogger returns the logger for the SDK's own messages. It drops their
// values, which may repeat a variable that has a secret.
func newSDKLogger(l *errorLog) logr.Logger { return logr.New(sdkLogSink{l}) }

// sdkLogSink implements [logr.LogSink]: errors and nothing else.
type sdkLogSink struct{ *errorLog }

func (sdkLogSink) Init(logr.RuntimeInfo)                 {}
func (sdkLogSink) Enabled(int) bool                      { return false }
func (sdkLogSink) Info(int, string, ...any)              {}
func (s sdkLogSink) Error(_ error, msg string, _ ...any) { s.warn(msg) }
func (s sdkLogSink) WithValues(...any) logr.LogSink      { return s }
func (s sdkLogSink) WithName(string) logr.LogSink        { return s }
