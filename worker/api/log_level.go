package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	defaultLogLevelDuration = 15 * time.Minute // how long a level lasts if nobody says
	maxLogLevelDuration     = 24 * time.Hour   // what is to last longer is a setting
)

// LogLevel is the least level that is logged.
type LogLevel struct {
	Level      string     `json:"level" enum:"debug,info,warn,error" doc:"What is logged now, and all above it"`
	Configured string     `json:"setting" enum:"debug,info,warn,error" doc:"The level of the settings, which comes back by itself"`
	Until      *time.Time `json:"until,omitempty" doc:"When it comes back; absent while it is in effect"`
}

// logLevelOverride changes the level for a while. A daemon that somebody once
// set to debug, or worse to error, and forgot must find back by itself.
type logLevelOverride struct {
	level      zap.AtomicLevel
	configured zapcore.Level
	log        *zap.Logger

	mu          sync.Mutex
	until       time.Time // zero while the setting is in effect
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
	v := LogLevel{Level: l.level.String(), Configured: l.configured.String()}
	if !l.until.IsZero() {
		v.Until = new(l.until.UTC())
	}
	return v
}

// set changes the level for d, or brings the setting back.
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
			if l.until.Equal(until) { // not set anew in the same moment
				l.revertTimer, l.until = nil, time.Time{}
				l.apply(l.configured, "holdd")
			}
		})
	}
	l.apply(to, by)
}

// apply leaves a line of itself whatever the levels are: who made a log fall
// silent must be found in it.
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
	Level string `query:"level" required:"true" enum:"debug,info,warn,error" doc:"The least level to be logged. Outcomes are info"`
	For   string `query:"for" maxLength:"40" default:"15m" doc:"How long, such as 90s or 2h; at most 24h. The level of the settings comes back after it"`
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
		Summary:     "Log more, or less, for a while",
		Description: "Of this process alone: other replicas go on as they were. A line in the log tells who did it.",
	}, a.setLogLevel)
}

func noLogLevelProblem() *Problem {
	return newProblem(RouteNotFound, "", "the log of this process has no level that can be changed")
}

func (a *API) setLogLevel(ctx context.Context, in *setLogLevelInput) (*logLevelOutput, error) {
	if a.logLevel == nil {
		return nil, noLogLevelProblem()
	}
	d := defaultLogLevelDuration
	if in.For != "" {
		var err error
		if d, err = ParseDuration(in.For); err != nil {
			return nil, newProblem(InvalidParameter, "for", err.Error())
		}
	}
	if d > maxLogLevelDuration {
		return nil, newProblem(InvalidParameter, "for",
			fmt.Sprintf("%s is longer than a day: what is to last is the setting log_level",
				in.For))
	}
	to, err := zapcore.ParseLevel(in.Level)
	if err != nil { // checked against the enum
		return nil, newProblem(InvalidParameter, "level", "send debug, info, warn or error")
	}
	a.logLevel.set(to, d, requestInfoFrom(ctx).by)
	return &logLevelOutput{Body: a.logLevel.current()}, nil
}

// LogLevel tells what the daemon logs.
func (c *Client) LogLevel(ctx context.Context) (LogLevel, error) {
	var l LogLevel
	_, err := c.doJSON(ctx, http.MethodGet, "/v1/log-level", 0, nil, &l)
	return l, err
}

// SetLogLevel makes the daemon log from this level on (debug, info, warn,
// error), for a while; 0: a quarter of an hour.
func (c *Client) SetLogLevel(ctx context.Context, level string, d time.Duration) (LogLevel, error) {
	q := url.Values{"level": {level}}
	if d != 0 {
		q.Set("for", d.String())
	}
	var l LogLevel
	_, err := c.doJSON(ctx, http.MethodPut, "/v1/log-level?"+q.Encode(), 0, nil, &l)
	return l, err
}
