package api

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	defaultLogLevelDuration = 15 * time.Minute
	maxLogLevelDuration     = 24 * time.Hour // a longer change belongs in the settings
)

// LogLevel is the lowest level that is logged.
type LogLevel struct {
	Level      string     `json:"level" enum:"debug,info,warn,error" doc:"The lowest level that is logged now"`
	Configured string     `json:"configured" enum:"debug,info,warn,error" doc:"The level of the settings. It returns by itself"`
	Until      *time.Time `json:"until,omitempty" doc:"When the configured level returns. Absent while it is in effect"`
}

// logLevelOverride changes the level for a limited time, so that an operator
// cannot leave holdd at debug, or silent at error, by mistake.
type logLevelOverride struct {
	level      zap.AtomicLevel
	configured zapcore.Level
	log        *zap.Logger

	mu          sync.Mutex
	until       time.Time // zero while the configured level is in effect
	revertTimer *time.Timer
}

func newLogLevelOverride(level *zap.AtomicLevel, log *zap.Logger) *logLevelOverride {
	if level == nil {
		return nil
	}
	return &logLevelOverride{level: *level, configured: level.Level(), log: log}
}

func (l *logLevelOverride) current() LogLevel {
	l.mu.Lock()
	defer l.mu.Unlock()
	return LogLevel{Level: l.level.String(), Configured: l.configured.String(),
		Until: optionalTime(l.until)}
}

// set changes the level for d. The configured level ends an override.
func (l *logLevelOverride) set(to zapcore.Level, d time.Duration, by string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.revertTimer != nil {
		l.revertTimer.Stop()
	}
	l.revertTimer, l.until = nil, time.Time{}
	if to != l.configured {
		until := time.Now().Add(d)
		l.until = until
		l.revertTimer = time.AfterFunc(d, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.until.Equal(until) { // another call has not changed it meanwhile
				l.revertTimer, l.until = nil, time.Time{}
				l.apply(l.configured, "holdd")
			}
		})
	}
	l.apply(to, by)
}

// apply logs every change, at any level: an operator must find out who silenced
// the log.
func (l *logLevelOverride) apply(to zapcore.Level, by string) {
	from := l.level.Level()
	fields := []zap.Field{zap.Stringer("from", from), zap.Stringer("to", to), zap.String("by", by)}
	if !l.until.IsZero() {
		fields = append(fields, zap.Time("until", l.until.UTC()))
	}
	l.level.SetLevel(min(from, to, zapcore.InfoLevel))
	l.log.Info("log level changed", fields...)
	l.level.SetLevel(to)
}

type setLogLevelInput struct {
	Level string `query:"level" required:"true" enum:"debug,info,warn,error" doc:"The lowest level to log. Outcomes are logged at info"`
	For   string `query:"for" maxLength:"40" default:"15m" doc:"How long, such as 90s or 2h, at most 24h. Then the configured level returns"`
}

type logLevelOutput struct {
	Body LogLevel
}

// logLevelHandler shows and changes the log level of this process.
type logLevelHandler struct {
	override *logLevelOverride // nil: disabled
}

func (h *logLevelHandler) register(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "getLogLevel", Method: http.MethodGet, Path: "/v1/log-level",
		Tags:    []string{"process"},
		Summary: "Show the log level of this process",
	}, h.get)
	huma.Register(doc, huma.Operation{
		OperationID: "setLogLevel", Method: http.MethodPut, Path: "/v1/log-level",
		Tags:    []string{"process"},
		Summary: "Change the log level for a limited time",
		Description: "The change applies to this process and not to other replicas. holdd logs " +
			"who made it.",
	}, h.set)
}

func newLogLevelDisabledProblem() *Problem {
	return newProblem(RouteNotFound, "", "the log level of this process cannot be changed")
}

func (h *logLevelHandler) get(context.Context, *noInput) (*logLevelOutput, error) {
	if h.override == nil {
		return nil, newLogLevelDisabledProblem()
	}
	return &logLevelOutput{Body: h.override.current()}, nil
}

func (h *logLevelHandler) set(ctx context.Context, in *setLogLevelInput) (*logLevelOutput, error) {
	if h.override == nil {
		return nil, newLogLevelDisabledProblem()
	}
	d := defaultLogLevelDuration
	if in.For != "" {
		var err error
		if d, err = ParseDuration(in.For); err != nil {
			return nil, newProblem(InvalidParameter, "for", err.Error())
		}
	}
	if d > maxLogLevelDuration {
		return nil, newProblem(InvalidParameter, "for", fmt.Sprintf(
			"%s is longer than 24h: set log_level in the settings instead", in.For))
	}
	to, err := zapcore.ParseLevel(in.Level)
	if err != nil { // huma has checked it against the enum
		return nil, newProblem(InvalidParameter, "level", fmt.Sprintf(
			"invalid level %.20q: want debug, info, warn or error", in.Level))
	}
	h.override.set(to, d, requestInfoFrom(ctx).by)
	return &logLevelOutput{Body: h.override.current()}, nil
}
