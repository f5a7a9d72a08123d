package worker

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// EventEnvelope is what is published when something happened to a hold: in the stream of events, and to whoever listens.
type EventEnvelope struct {
	ID        string         `json:"id"`
	Type      hold.EventType `json:"type"`
	Timestamp time.Time      `json:"timestamp"`
	Data      EventData      `json:"data"`
}

// EventData is what an event tells: of its hold, or of what else its type is about (facts.go).
type EventData struct {
	Hold      hold.View `json:"hold,omitzero"`
	Cause     string    `json:"cause,omitempty"`
	Threshold string    `json:"threshold,omitempty"` // of hold.expiring: how long before the deadline

	Reject   *Rejection `json:"reject,omitempty"`
	Intent   *Finding   `json:"intent,omitempty"` // of reconcile.orphan and authorization.abandoned
	Capacity *Capacity  `json:"capacity,omitempty"`
	Replica  string     `json:"replica,omitempty"` // that saw it; of replica.stopped: that stopped
	Alive    []string   `json:"alive,omitempty"`   // of replica.stopped: those that go on, ten at the most
	Sink     string     `json:"sink,omitempty"`    // of sink.*
	Count    int64      `json:"count,omitempty"`   // of sink.lost (-1: it isn't known) and sink.dead
	Detail   string     `json:"detail,omitempty"`
}

// encodeEvents makes the events of a change that is committed as a version. Receivers drop an id that they have seen, so an id stands for one event for ever:
// versions alone are counted anew where Redis has lost the hold, or its last seconds, hence the time.
func (w *Worker) encodeEvents(c *hold.Decision, version uint64, now time.Time) [][]byte {
	mark := strconv.FormatUint(version, 10) + "t" + base36(now)
	return w.encodeAll(c, now, func(i int) string { return mark + "_" + strconv.Itoa(i+1) })
}

// encodeMilestoneEvents makes the events of a milestone that is passed while the hold stays what it is. Their ids say what they tell: where a failover lets a
// milestone be passed again, the same news has the same id, and what is news by then has another.
func (w *Worker) encodeMilestoneEvents(c *hold.Decision, now time.Time) [][]byte {
	mark := "d" + base36(c.Hold.ExpiresAt) + "v" + strconv.FormatUint(c.Hold.Version, 10)
	return w.encodeAll(c, now, func(i int) string {
		n := &c.Events[i]
		if n.Cause != 0 {
			return mark + "_" + n.Cause.String() + "_" + strconv.FormatInt(int64(n.Threshold), 36)
		}
		return mark + "_" + strconv.FormatInt(int64(n.Threshold), 36)
	})
}

func base36(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 36) }

func (w *Worker) encodeAll(c *hold.Decision, now time.Time, mark func(i int) string) [][]byte {
	if len(c.Events) == 0 {
		return nil
	}
	v := c.Hold.View(now, false)
	v.Livemode = w.o.Livemode
	out := make([][]byte, 0, len(c.Events))
	for i, n := range c.Events {
		e := EventEnvelope{
			ID:   "evt_" + strings.TrimPrefix(c.Hold.ID, "pi_") + "_" + mark(i),
			Type: n.Type, Timestamp: now, Data: EventData{Hold: v},
		}
		if n.Cause != 0 {
			e.Data.Cause = n.Cause.String()
		}
		if n.Type == hold.EventExpiring {
			e.Data.Threshold = n.Threshold.String()
		}
		b, err := json.Marshal(e)
		if err != nil {
			// Strings, numbers and times of bounded years: there is nothing that could fail.
			panic(err)
		}
		out = append(out, b)
	}
	return out
}

// recordEvents logs a change that was committed, a line each, and counts it.
func (w *Worker) recordEvents(c *hold.Decision, call hold.Call, a hold.Answer, lateness time.Duration) {
	w.recon.addAccount(c.Hold.Account)
	for _, n := range c.Events {
		w.logEvent(&c.Hold, n, call, a, lateness)
		if w.o.Observer != nil {
			w.o.Observer.EventRecorded(&c.Hold, n, lateness)
		}
	}
}

func (w *Worker) logEvent(h *hold.Hold, n hold.Event, call hold.Call, a hold.Answer, lateness time.Duration) {
	level := zapcore.InfoLevel
	switch n.Type {
	case hold.EventCaptured:
		if h.CaptureAmount > 0 && h.CapturedAmount > h.CaptureAmount {
			level = zapcore.WarnLevel
		}
	case hold.EventExpired, hold.EventExpiring, hold.EventRetrying:
		level = zapcore.WarnLevel
	case hold.EventAttention:
		level = zapcore.ErrorLevel
	case hold.EventScheduled, hold.EventChanged:
		level = zapcore.DebugLevel
		if n.Cause == hold.CauseElsewhere {
			level = zapcore.WarnLevel
		}
	}
	ce := w.log.Check(level, string(n.Type))
	if ce == nil {
		return
	}
	amount := h.Amount
	if n.Type == hold.EventCaptured {
		amount = h.CapturedAmount
	}
	fields := make([]zap.Field, 0, 16)
	fields = append(fields,
		zap.String("event", string(n.Type)), zap.String("hold", h.ID), zap.String("payment_intent", h.PaymentIntent), zap.String("account", h.Account),
		zap.String("reference", h.Reference), zap.Int64("amount", amount), zap.String("currency", h.Currency),
		zap.Uint32("attempt", countAttempts(h)), zap.String("idempotency_key", call.Key), zap.String("request_id", a.RequestID),
		zap.Int64("lateness_ms", lateness.Milliseconds()), zap.String("cause", causeName(n.Cause)))
	if a.Kind != 0 && a.Kind != hold.AnswerOK {
		fields = append(fields, zap.Stringer("answer", a.Kind), zap.String("code", a.Code), zap.String("message", a.Message))
	}
	if h.CapturedElsewhere > 0 {
		fields = append(fields, zap.Int64("captured_elsewhere", h.CapturedElsewhere), zap.Int64("capture_amount", h.CaptureAmount))
	}
	if n.Type == hold.EventExpiring {
		fields = append(fields, zap.Duration("threshold", n.Threshold), zap.Time("expires_at", h.ExpiresAt))
	}
	if n.Type == hold.EventRetrying {
		fields = append(fields, zap.Time("next_at", h.NextAt))
	}
	ce.Write(fields...)
}

// countAttempts counts the requests of a hold that its history tells of.
func countAttempts(h *hold.Hold) uint32 {
	n := h.HistoryDropped
	for i := range h.History {
		if h.History[i].Kind == hold.HistoryAttempt {
			n++
		}
	}
	return n
}

func causeName(c hold.Cause) string {
	if c == 0 {
		return ""
	}
	return c.String()
}
