package tracing

import (
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/hold"
)

// errorLogInterval is how often an error is logged while it lasts.
const errorLogInterval = time.Minute

// errorLog logs the errors of the SDK, at most one line a minute.
type errorLog struct {
	log *zap.Logger

	mu       sync.Mutex
	loggedAt time.Time
	dropped  uint32 // spans for which the queue had no room, as far as reported
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

// reportDropped reports spans that the SDK has dropped because its queue was
// full. total counts from the start.
func (l *errorLog) reportDropped(total uint32) {
	l.mu.Lock()
	more := total != l.dropped
	l.dropped = total
	l.mu.Unlock()
	if more {
		l.warn("the queue was full: " + hold.FormatCount(total, "span", "spans") +
			" dropped since the start")
	}
}

// sdkDebugLevel is the level of the SDK's message before each export. It is the
// only way to learn how many spans were dropped.
const sdkDebugLevel = 8

// newSDKLogger returns the logger for the SDK's own messages. It drops their
// values, which may repeat a variable that has a secret.
func newSDKLogger(l *errorLog) logr.Logger { return logr.New(sdkLogSink{l}) }

// sdkLogSink implements [logr.LogSink]: errors, dropped spans and nothing else.
type sdkLogSink struct{ *errorLog }

func (sdkLogSink) Init(logr.RuntimeInfo)                 {}
func (sdkLogSink) Enabled(level int) bool                { return level == sdkDebugLevel }
func (s sdkLogSink) Error(_ error, msg string, _ ...any) { s.warn(msg) }
func (s sdkLogSink) WithValues(...any) logr.LogSink      { return s }
func (s sdkLogSink) WithName(string) logr.LogSink        { return s }

func (s sdkLogSink) Info(_ int, _ string, values ...any) {
	for i := 1; i < len(values); i += 2 {
		if total, ok := values[i].(uint32); ok && values[i-1] == "total_dropped" {
			s.reportDropped(total)
		}
	}
}
