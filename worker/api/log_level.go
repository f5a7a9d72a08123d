package api

import (
	"context"
	"net/http"
	"net/url"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// LogLevel is the least level that is logged.
type LogLevel struct {
	Level      string `json:"level" enum:"debug,info,warn,error" doc:"The least level that is logged now"`
	Configured string `json:"setting" enum:"debug,info,warn,error" doc:"The level of the settings, which a restart brings back"`
}

// logLevelControl changes the level of the process' log.
type logLevelControl struct {
	level      zap.AtomicLevel
	configured zapcore.Level
	log        *zap.Logger
	mu         sync.Mutex // one change at a time
}

func newLogLevelControl(level *zap.AtomicLevel, log *zap.Logger) *logLevelControl {
	if level == nil {
		return nil
	}
	return &logLevelControl{level: *level, configured: level.Level(), log: log}
}

func (l *logLevelControl) current() LogLevel {
	return LogLevel{Level: l.level.String(), Configured: l.configured.String()}
}

// set changes the level. It logs who changed it, whatever the two levels are.
func (l *logLevelControl) set(to zapcore.Level, by string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := l.level.Level()
	l.level.SetLevel(min(from, to, zapcore.InfoLevel))
	l.log.Info("log level changed", zap.Stringer("from", from), zap.Stringer("to", to),
		zap.String("by", by))
	l.level.SetLevel(to)
}

type setLogLevelInput struct {
	Level string `query:"level" required:"true" enum:"debug,info,warn,error" doc:"The least level to be logged. Outcomes are info"`
}

type logLevelOutput struct {
	Body LogLevel
}

func (a *API) registerLogLevel(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "logLevel", Method: http.MethodGet, Path: "/v1/log-level",
		Tags:    []string{"process"},
		Summary: "What this process logs",
	}, func(context.Context, *noInput) (*logLevelOutput, error) {
		if a.logLevel == nil {
			return nil, noLogLevelProblem()
		}
		return &logLevelOutput{Body: a.logLevel.current()}, nil
	})
	huma.Register(doc, huma.Operation{
		OperationID: "setLogLevel", Method: http.MethodPut, Path: "/v1/log-level",
		Tags:        []string{"process"},
		Summary:     "Change what this process logs",
		Description: "It changes this process alone, until it restarts. A line in the log names who changed it.",
	}, a.setLogLevel)
}

func noLogLevelProblem() *Problem {
	return newProblem(RouteNotFound, "", "the log of this process has no level that can be changed")
}

func (a *API) setLogLevel(ctx context.Context, in *setLogLevelInput) (*logLevelOutput, error) {
	if a.logLevel == nil {
		return nil, noLogLevelProblem()
	}
	to, err := zapcore.ParseLevel(in.Level)
	if err != nil { // checked against the enum
		return nil, newProblem(InvalidParameter, "level", "send debug, info, warn or error")
	}
	a.logLevel.set(to, requestInfoFrom(ctx).by)
	return &logLevelOutput{Body: a.logLevel.current()}, nil
}

// LogLevel tells what the daemon logs.
func (c *Client) LogLevel(ctx context.Context) (LogLevel, error) {
	var l LogLevel
	_, err := c.doJSON(ctx, http.MethodGet, "/v1/log-level", 0, nil, &l)
	return l, err
}

// SetLogLevel sets the least level that the daemon logs: debug, info, warn or
// error.
func (c *Client) SetLogLevel(ctx context.Context, level string) (LogLevel, error) {
	var l LogLevel
	_, err := c.doJSON(ctx, http.MethodPut,
		"/v1/log-level?"+url.Values{"level": {level}}.Encode(), 0, nil, &l)
	return l, err
}
