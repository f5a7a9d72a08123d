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

// DeliveryService are the ways out. Errors are as those of [HoldService].
type DeliveryService interface {
	SinkStatuses(ctx context.Context) ([]event.SinkStatus, error)
	DeadLetters(ctx context.Context, sink string, n int) (list []hold.DeadLetter, total int64,
		err error)
	ReplayDeadLetters(ctx context.Context, sink string, ids []string) (int64, error)
	HasSink(sink string) bool
}

// SinkStatus is where events or alerts are sent, and how that goes.
type SinkStatus struct {
	Sink         string     `json:"sink" doc:"callback, or the service of one of notify_urls"`
	FailingSince *time.Time `json:"failing_since,omitempty" doc:"Since when it takes nothing"`
	Reason       string     `json:"reason,omitempty" doc:"Why it did not take what was sent last"`
	Disabled     bool       `json:"gone,omitempty" doc:"It answered 410 and is not told any more, until its address changes"`
	OldestAt     *time.Time `json:"oldest_at,omitempty" doc:"When the oldest event that waits happened"`
	ParkedHolds  int        `json:"parked_holds" doc:"Holds whose events it refuses while it takes those of others"`
	DeadLetters  int64      `json:"dead_letters" doc:"Events that were given up after three days and can be replayed"`
	EventsLost   int64      `json:"lost" doc:"Events that were trimmed from the stream before it was back"`
}

// SinkList are all of them.
type SinkList struct {
	Sinks    []SinkStatus `json:"sinks" nullable:"false"`
	Livemode bool         `json:"livemode" doc:"Real money"`
}

// DeadLetter is an event that a sink was not able to take for days.
type DeadLetter struct {
	ID        string    `json:"id" doc:"Name it to replay it"`
	EventID   string    `json:"event_id" doc:"The webhook-id, the same as of each try before"`
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	HoldID    string    `json:"hold,omitempty"`
	Reason    string    `json:"reason"`
}

// DeadLetterList are those of one sink, oldest first.
type DeadLetterList struct {
	Sink        string       `json:"sink"`
	DeadLetters []DeadLetter `json:"dead_letters" nullable:"false"`
	Total       int64        `json:"total"`
}

// ReplayResult tells how many dead letters are on their way once more.
type ReplayResult struct {
	Replayed int64 `json:"replayed"`
}

// replayRequest is the body of POST /v1/deliveries/replay.
type replayRequest struct {
	Sink string   `json:"sink,omitempty" doc:"Left out: callback"`
	IDs  []string `json:"ids,omitempty" maxItems:"1000" doc:"Dead letters by id; left out: all, up to 1000 of each partition"`
}

type listDeadLettersInput struct {
	Sink  string `query:"sink" maxLength:"100" default:"callback" doc:"Whose"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most"`
}

type (
	listSinksOutput       struct{ Body SinkList }
	listDeadLettersOutput struct{ Body DeadLetterList }
	replayOutput          struct{ Body ReplayResult }
)

func (a *API) registerDeliveries(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "listDeliveries", Method: http.MethodGet, Path: "/v1/deliveries",
		Tags:    []string{"deliveries"},
		Summary: "Where events and alerts are sent, and how that goes",
	}, a.listSinks)
	huma.Register(doc, huma.Operation{
		OperationID: "listDeadLetters", Method: http.MethodGet, Path: "/v1/deliveries/dead",
		Tags:    []string{"deliveries"},
		Summary: "Events that a sink did not take for three days",
	}, a.listDeadLetters)
	huma.Register(doc, huma.Operation{
		OperationID: "replayDeadLetters", Method: http.MethodPost, Path: "/v1/deliveries/replay",
		Tags:        []string{"deliveries"},
		Summary:     "Send dead letters once more",
		Description: "Each has the webhook-id that it always had. What is not taken then is a dead letter again.",
	}, a.replayDeadLetters)
}

func (a *API) listSinks(ctx context.Context, _ *noInput) (*listSinksOutput, error) {
	if a.opts.Deliveries == nil {
		return nil, a.logAndConvertError(ctx, health.ErrUnavailable)
	}
	list, err := a.opts.Deliveries.SinkStatuses(ctx)
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	out := &listSinksOutput{Body: SinkList{Sinks: make([]SinkStatus, 0, len(list)),
		Livemode: a.opts.Livemode}}
	for _, s := range list {
		out.Body.Sinks = append(out.Body.Sinks, SinkStatus{Sink: s.Sink, FailingSince: optionalTime(
			s.Failing), Reason: s.Reason, Disabled: s.Disabled, OldestAt: optionalTime(s.Oldest),
			ParkedHolds: s.Parked, DeadLetters: s.DeadLetters, EventsLost: s.EventsLost})
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

func (a *API) checkSinkExists(ctx context.Context, sink string) error {
	if a.opts.Deliveries == nil {
		return a.logAndConvertError(ctx, health.ErrUnavailable)
	}
	if !a.opts.Deliveries.HasSink(sink) {
		return newProblem(SinkNotFound, "sink",
			"there is no such sink: GET /v1/deliveries lists them")
	}
	return nil
}

func (a *API) listDeadLetters(
	ctx context.Context, in *listDeadLettersInput,
) (*listDeadLettersOutput, error) {
	if err := a.checkSinkExists(ctx, in.Sink); err != nil {
		return nil, err
	}
	list, total, err := a.opts.Deliveries.DeadLetters(ctx, in.Sink, in.Limit)
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	out := &listDeadLettersOutput{Body: DeadLetterList{Sink: in.Sink, Total: total,
		DeadLetters: make([]DeadLetter, 0, len(list))}}
	for _, d := range list {
		var e event.Envelope
		_ = json.Unmarshal(d.Event, &e) // what can't be read is listed by its id
		out.Body.DeadLetters = append(out.Body.DeadLetters, DeadLetter{ID: d.ID, EventID: e.ID,
			Type: string(e.Type), Timestamp: e.Timestamp, HoldID: e.Data.Hold.ID, Reason: d.Reason})
	}
	return out, nil
}

func (a *API) replayDeadLetters(ctx context.Context, _ *noInput) (*replayOutput, error) {
	in := replayRequest{}
	err := requestInfoFrom(ctx).readJSONBody(maxSingleBodyBytes, false, func(b []byte) error {
		if b == nil {
			return nil
		}
		return decodeStrict(b, &in)
	})
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	if in.Sink == "" {
		in.Sink = "callback"
	}
	if len(in.IDs) > 1000 {
		return nil, newProblem(InvalidParameter, "ids", "send at most 1000 ids")
	}
	if err := a.checkSinkExists(ctx, in.Sink); err != nil {
		return nil, err
	}
	n, err := a.opts.Deliveries.ReplayDeadLetters(ctx, in.Sink, in.IDs)
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	return &replayOutput{Body: ReplayResult{Replayed: n}}, nil
}

// SinkStatuses tells where events and alerts are sent, and how that goes.
func (c *Client) SinkStatuses(ctx context.Context) (SinkList, error) {
	var s SinkList
	_, err := c.doJSON(ctx, http.MethodGet, "/v1/deliveries", 0, nil, &s)
	return s, err
}

// DeadLetters lists up to n events that a sink did not take for days.
func (c *Client) DeadLetters(ctx context.Context, sink string, n int) (DeadLetterList, error) {
	var d DeadLetterList
	_, err := c.doJSON(ctx, http.MethodGet, "/v1/deliveries/dead?sink="+url.QueryEscape(sink)+
		"&limit="+strconv.Itoa(n), 0, nil, &d)
	return d, err
}

// ReplayDeadLetters sends dead letters of a sink once more: those named, or
// all.
func (c *Client) ReplayDeadLetters(
	ctx context.Context, sink string, ids []string,
) (ReplayResult, error) {
	var r ReplayResult
	_, err := c.doJSON(ctx, http.MethodPost, "/v1/deliveries/replay", 0,
		replayRequest{Sink: sink, IDs: ids}, &r)
	return r, err
}
