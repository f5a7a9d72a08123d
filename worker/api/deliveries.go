package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// Deliveries are the ways out. Errors are as those of [Holds].
type Deliveries interface {
	Statuses(ctx context.Context) ([]event.SinkStatus, error)
	DeadLetters(ctx context.Context, sink string, n int) (list []hold.DeadLetter, total int64, err error)
	Replay(ctx context.Context, sink string, ids []string) (int64, error)
	Has(sink string) bool
}

// Sink is where events or alerts are sent, and how that goes.
type Sink struct {
	Sink         string     `json:"sink" doc:"callback, or the service of one of notify_urls"`
	FailingSince *time.Time `json:"failing_since,omitempty" doc:"Since when it takes nothing"`
	Reason       string     `json:"reason,omitempty" doc:"Why it did not take what was sent last"`
	Gone         bool       `json:"gone,omitempty" doc:"It answered 410 and is not told any more, until its address changes"`
	OldestAt     *time.Time `json:"oldest_at,omitempty" doc:"When the oldest event that waits happened"`
	ParkedHolds  int        `json:"parked_holds" doc:"Holds whose events it refuses while it takes those of others"`
	DeadLetters  int64      `json:"dead_letters" doc:"Events that were given up after three days and can be replayed"`
	Lost         int64      `json:"lost" doc:"Events that were trimmed from the stream before it was back"`
}

// Sinks are all of them.
type Sinks struct {
	Sinks    []Sink `json:"sinks" nullable:"false"`
	Livemode bool   `json:"livemode" doc:"Real money"`
}

// DeadLetter is an event that a sink was not able to take for days.
type DeadLetter struct {
	ID      string    `json:"id" doc:"Name it to replay it"`
	EventID string    `json:"event_id" doc:"The webhook-id, the same as of each try before"`
	Type    string    `json:"type"`
	At      time.Time `json:"timestamp"`
	Hold    string    `json:"hold,omitempty"`
	Reason  string    `json:"reason"`
}

// DeadLetters are those of one sink, oldest first.
type DeadLetters struct {
	Sink  string       `json:"sink"`
	Dead  []DeadLetter `json:"dead_letters" nullable:"false"`
	Total int64        `json:"total"`
}

// Replayed tells how many dead letters are on their way once more.
type Replayed struct {
	Replayed int64 `json:"replayed"`
}

// replayBody is the body of POST /v1/deliveries/replay.
type replayBody struct {
	Sink string   `json:"sink,omitempty" doc:"Left out: callback"`
	IDs  []string `json:"ids,omitempty" maxItems:"1000" doc:"Dead letters by id; left out: all, up to 1000 of each partition"`
}

type deadInput struct {
	Sink  string `query:"sink" maxLength:"100" default:"callback" doc:"Whose"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most"`
}

type (
	sinksOutput    struct{ Body Sinks }
	deadOutput     struct{ Body DeadLetters }
	replayedOutput struct{ Body Replayed }
)

func (a *API) registerDeliveries(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "listDeliveries", Method: http.MethodGet, Path: "/v1/deliveries", Tags: []string{"deliveries"},
		Summary: "Where events and alerts are sent, and how that goes",
	}, a.deliveries)
	huma.Register(doc, huma.Operation{
		OperationID: "listDeadLetters", Method: http.MethodGet, Path: "/v1/deliveries/dead", Tags: []string{"deliveries"},
		Summary: "Events that a sink did not take for three days",
	}, a.dead)
	huma.Register(doc, huma.Operation{
		OperationID: "replayDeadLetters", Method: http.MethodPost, Path: "/v1/deliveries/replay", Tags: []string{"deliveries"},
		Summary:     "Send dead letters once more",
		Description: "Each has the webhook-id that it always had. What is not taken then is a dead letter again.",
	}, a.replay)
}

func (a *API) deliveries(ctx context.Context, _ *none) (*sinksOutput, error) {
	if a.opts.Deliveries == nil {
		return nil, a.answer(ctx, health.ErrUnavailable)
	}
	list, err := a.opts.Deliveries.Statuses(ctx)
	if err != nil {
		return nil, a.answer(ctx, err)
	}
	out := &sinksOutput{Body: Sinks{Sinks: make([]Sink, 0, len(list)), Livemode: a.opts.Livemode}}
	for _, s := range list {
		out.Body.Sinks = append(out.Body.Sinks, Sink{Sink: s.Sink, FailingSince: optionalTime(s.Failing), Reason: s.Reason, Gone: s.Disabled, OldestAt: optionalTime(s.Oldest),
			ParkedHolds: s.Parked, DeadLetters: s.DeadLetters, Lost: s.EventsLost})
	}
	return out, nil
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (a *API) known(ctx context.Context, sink string) error {
	if a.opts.Deliveries == nil {
		return a.answer(ctx, health.ErrUnavailable)
	}
	if !a.opts.Deliveries.Has(sink) {
		return newProblem(SinkNotFound, "sink", "there is no such sink: GET /v1/deliveries lists them")
	}
	return nil
}

func (a *API) dead(ctx context.Context, in *deadInput) (*deadOutput, error) {
	if err := a.known(ctx, in.Sink); err != nil {
		return nil, err
	}
	list, total, err := a.opts.Deliveries.DeadLetters(ctx, in.Sink, in.Limit)
	if err != nil {
		return nil, a.answer(ctx, err)
	}
	out := &deadOutput{Body: DeadLetters{Sink: in.Sink, Total: total, Dead: make([]DeadLetter, 0, len(list))}}
	for _, d := range list {
		var e event.Envelope
		_ = json.Unmarshal(d.Event, &e) // what can't be read is listed by its id
		out.Body.Dead = append(out.Body.Dead, DeadLetter{ID: d.ID, EventID: e.ID, Type: string(e.Type), At: e.Timestamp, Hold: e.Data.Hold.ID, Reason: d.Reason})
	}
	return out, nil
}

func (a *API) replay(ctx context.Context, _ *none) (*replayedOutput, error) {
	in := replayBody{}
	err := callOf(ctx).withBody(maxSingleBody, false, func(b []byte) error {
		if b == nil {
			return nil
		}
		return decode(b, &in)
	})
	if err != nil {
		return nil, a.answer(ctx, err)
	}
	if in.Sink == "" {
		in.Sink = "callback"
	}
	if len(in.IDs) > 1000 {
		return nil, newProblem(InvalidParameter, "ids", "send at most 1000 ids")
	}
	if err := a.known(ctx, in.Sink); err != nil {
		return nil, err
	}
	n, err := a.opts.Deliveries.Replay(ctx, in.Sink, in.IDs)
	if err != nil {
		return nil, a.answer(ctx, err)
	}
	return &replayedOutput{Body: Replayed{Replayed: n}}, nil
}

// Deliveries tells where events and alerts are sent, and how that goes.
func (c *Client) Deliveries(ctx context.Context) (Sinks, error) {
	var s Sinks
	_, err := c.call(ctx, http.MethodGet, "/v1/deliveries", 0, nil, &s)
	return s, err
}

// DeadLetters lists up to n events that a sink did not take for days.
func (c *Client) DeadLetters(ctx context.Context, sink string, n int) (DeadLetters, error) {
	var d DeadLetters
	_, err := c.call(ctx, http.MethodGet, "/v1/deliveries/dead?sink="+url.QueryEscape(sink)+"&limit="+strconv.Itoa(n), 0, nil, &d)
	return d, err
}

// Replay sends dead letters of a sink once more: those named, or all.
func (c *Client) Replay(ctx context.Context, sink string, ids []string) (Replayed, error) {
	var r Replayed
	_, err := c.call(ctx, http.MethodPost, "/v1/deliveries/replay", 0, replayBody{Sink: sink, IDs: ids}, &r)
	return r, err
}
