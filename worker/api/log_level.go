package api

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/holdd/holdd/worker/hold"
)

// processLogLevel changes the log level of this process.
type processLogLevel struct {
	level      zap.AtomicLevel
	configured atomic.Int32 // a zapcore.Level
	log        *zap.Logger
	mu         sync.Mutex // one change at a time
}

func newProcessLogLevel(level *zap.AtomicLevel, log *zap.Logger) *processLogLevel {
	if level == nil {
		return nil
	}
	l := &processLogLevel{level: *level, log: log}
	l.configured.Store(int32(level.Level()))
	return l
}

func (l *processLogLevel) currentAndConfiguredLevel() LogLevel {
	return LogLevel{Level: l.level.String(), Configured: zapcore.Level(l.configured.Load()).String()}
}

// set changes the level. It logs who changed it, at any level.
func (l *processLogLevel) set(to zapcore.Level, by string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := l.level.Level()
	l.level.SetLevel(min(from, to, zapcore.InfoLevel))
	l.log.Info("log level changed", zap.Stringer("from", from), zap.Stringer("to", to),
		zap.String("by", by))
	l.level.SetLevel(to)
}

type setLogLevelInput struct {
	Level string `query:"level" required:"true" enum:"debug,info,warn,error" doc:"The lowest level to log. Outcomes are logged at info"`
}

type logLevelOutput struct {
	Body LogLevel
}

// logLevelHandler shows and changes the log level of this process.
type logLevelHandler struct {
	level     *processLogLevel // nil: disabled
	recordAct func(ctx context.Context, e hold.AuditLogEntry)
}

func (h *logLevelHandler) register(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "getLogLevel", Method: http.MethodGet, Path: "/v1/log-level",
		Tags:        []string{"process"},
		Summary:     "Show the log level of this process",
		Description: "Each replica has its own level.",
	}, h.get)
	huma.Register(doc, huma.Operation{
		OperationID: "setLogLevel", Method: http.MethodPut, Path: "/v1/log-level",
		Tags:    []string{"process"},
		Summary: "Change the log level of this process",
		Description: "The change lasts until the process restarts and does not apply to other " +
			"replicas. holdd logs who made it.",
	}, h.set)
}

func newLogLevelDisabledProblem() *Problem {
	return newProblem(RouteNotFound, "", "the log level of this process cannot be changed")
}

func (h *logLevelHandler) get(context.Context, *noParamsInput) (*logLevelOutput, error) {
	if h.level == nil {
		return nil, newLogLevelDisabledProblem()
	}
	return &logLevelOutput{Body: h.level.currentAndConfiguredLevel()}, nil
}

func (h *logLevelHandler) set(ctx context.Context, in *setLogLevelInput) (*logLevelOutput, error) {
	if h.level == nil {
		return nil, newLogLevelDisabledProblem()
	}
	to, err := zapcore.ParseLevel(in.Level)
	if err != nil { // huma has checked it against the enum
		return nil, newProblem(InvalidParameter, "level", fmt.Sprintf(
			"invalid level %.20q: want debug, info, warn or error", in.Level))
	}
	from, by := h.level.currentAndConfiguredLevel().Level, requestInfoFromContext(ctx).by
	h.level.set(to, by)
	h.recordAct(ctx, hold.AuditLogEntry{By: by, Act: hold.ActLogLevelChanged,
		Detail: from + " to " + to.String()})
	return &logLevelOutput{Body: h.level.currentAndConfiguredLevel()}, nil
}
