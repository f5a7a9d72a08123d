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
	levelFor    = 15 * time.Minute // how long a level lasts if nobody says
	levelForMax = 24 * time.Hour   // what is to last longer is a setting
)

// LogLevel is the least level that is logged.
type LogLevel struct {
	Level   string     `json:"level" enum:"debug,info,warn,error" doc:"What is logged now, and all above it"`
	Setting string     `json:"setting" enum:"debug,info,warn,error" doc:"The level of the settings, which comes back by itself"`
	Until   *time.Time `json:"until,omitempty" doc:"When it comes back; absent while it is in effect"`
}

// leveler changes the level for a while. A daemon that somebody once set to debug, or worse to error, and forgot must find back by itself.
type leveler struct {
	level   zap.AtomicLevel
	setting zapcore.Level
	log     *zap.Logger

	mu    sync.Mutex
	until time.Time // zero while the setting is in effect
	back  *time.Timer
}

func newLeveler(level *zap.AtomicLevel, log *zap.Logger) *leveler {
	if level == nil {
		return nil
	}
	return &leveler{level: *level, setting: level.Level(), log: log}
}

func (l *leveler) view() LogLevel {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := LogLevel{Level: l.level.String(), Setting: l.setting.String()}
	if !l.until.IsZero() {
		v.Until = new(l.until.UTC())
	}
	return v
}

// set changes the level for d, or brings the setting back.
func (l *leveler) set(to zapcore.Level, d time.Duration, by string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.back != nil {
		l.back.Stop()
	}
	l.back, l.until = nil, time.Time{}
	if to != l.setting {
		until := time.Now().Add(d)
		l.until = until
		l.back = time.AfterFunc(d, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.until.Equal(until) { // not set anew in the same moment
				l.back, l.until = nil, time.Time{}
				l.change(l.setting, "holdd")
			}
		})
	}
	l.change(to, by)
}

// change leaves a line of itself whatever the levels are: who made a log fall silent must be found in it.
func (l *leveler) change(to zapcore.Level, by string) {
	from := l.level.Level()
	fields := []zap.Field{zap.Stringer("from", from), zap.Stringer("to", to), zap.String("by", by)}
	if !l.until.IsZero() {
		fields = append(fields, zap.Time("until", l.until.UTC()))
	}
	l.level.SetLevel(min(from, to, zapcore.InfoLevel))
	l.log.Info("log level changed", fields...)
	l.level.SetLevel(to)
}

type levelInput struct {
	Level string `query:"level" required:"true" enum:"debug,info,warn,error" doc:"The least level to be logged. Outcomes are info"`
	For   string `query:"for" maxLength:"40" default:"15m" doc:"How long, such as 90s or 2h; at most 24h. The level of the settings comes back after it"`
}

type levelOutput struct {
	Body LogLevel
}

func (a *API) registerLevel(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "logLevel", Method: http.MethodGet, Path: "/v1/log-level", Tags: []string{"process"},
		Summary: "What this process logs",
	}, func(context.Context, *none) (*levelOutput, error) {
		if a.level == nil {
			return nil, noLevel()
		}
		return &levelOutput{Body: a.level.view()}, nil
	})
	huma.Register(doc, huma.Operation{
		OperationID: "setLogLevel", Method: http.MethodPut, Path: "/v1/log-level", Tags: []string{"process"},
		Summary:     "Log more, or less, for a while",
		Description: "Of this process alone: other replicas go on as they were. A line in the log tells who did it.",
	}, a.setLevel)
}

func noLevel() *Problem {
	return newProblem(RouteNotFound, "", "the log of this process has no level that can be changed")
}

func (a *API) setLevel(ctx context.Context, in *levelInput) (*levelOutput, error) {
	if a.level == nil {
		return nil, noLevel()
	}
	d := levelFor
	if in.For != "" {
		var err error
		if d, err = ParseSpan(in.For); err != nil {
			return nil, newProblem(InvalidParameter, "for", err.Error())
		}
	}
	if d > levelForMax {
		return nil, newProblem(InvalidParameter, "for", fmt.Sprintf("%s is longer than a day: what is to last is the setting log_level", in.For))
	}
	to, err := zapcore.ParseLevel(in.Level)
	if err != nil { // checked against the enum
		return nil, newProblem(InvalidParameter, "level", "send debug, info, warn or error")
	}
	a.level.set(to, d, callOf(ctx).by)
	return &levelOutput{Body: a.level.view()}, nil
}

// LogLevel tells what the daemon logs.
func (c *Client) LogLevel(ctx context.Context) (LogLevel, error) {
	var l LogLevel
	_, err := c.call(ctx, http.MethodGet, "/v1/log-level", 0, nil, &l)
	return l, err
}

// SetLogLevel makes the daemon log from this level on (debug, info, warn, error), for a while; 0: a quarter of an hour.
func (c *Client) SetLogLevel(ctx context.Context, level string, d time.Duration) (LogLevel, error) {
	q := url.Values{"level": {level}}
	if d != 0 {
		q.Set("for", d.String())
	}
	var l LogLevel
	_, err := c.call(ctx, http.MethodPut, "/v1/log-level?"+q.Encode(), 0, nil, &l)
	return l, err
}
