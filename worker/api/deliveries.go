package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"

	"go.uber.org/zap"
)

// DeliveryService shows and replays deliveries to sinks. Its errors are like
// those of [HoldServices]. alert.Notifier implements it.
type DeliveryService interface {
	ListSinkStatuses(ctx context.Context) ([]event.SinkStatus, error)
	ListDeadLetters(ctx context.Context, sink string, n int) (list []hold.DeadLetter, total int64,
		err error)
	RequeueDeadLetters(ctx context.Context, sink string, ids []string) (int64, error)
	HasSink(sink string) bool
}

const (
	defaultSink  = "callback"
	maxReplayIDs = 1000
)

type listDeadLettersInput struct {
	Sink  string `query:"sink" maxLength:"100" default:"callback" doc:"Name of the sink"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Most dead letters to list"`
}

type (
	listSinksOutput       struct{ Body SinkList }
	listDeadLettersOutput struct{ Body DeadLetterList }
	replayOutput          struct{ Body ReplayResult }
)

// deliveryHandler shows and replays deliveries.
type deliveryHandler struct {
	responseBuilder
	deliveries DeliveryService // nil: disabled
	recordAct  func(ctx context.Context, e hold.AuditLogEntry)
}

func (h *deliveryHandler) register(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "listDeliveries", Method: http.MethodGet, Path: "/v1/deliveries",
		Tags:        []string{"deliveries"},
		Summary:     "List sinks and the state of their deliveries",
		Description: "A sink is the callback, or a service of `notify_urls`.",
	}, h.listSinks)
	huma.Register(doc, huma.Operation{
		OperationID: "listDeadLetters", Method: http.MethodGet, Path: "/v1/deliveries/dead",
		Tags:        []string{"deliveries"},
		Summary:     "List events that a sink did not accept for three days",
		Description: "Oldest first. Each can be replayed.",
	}, h.listDeadLetters)
	huma.Register(doc, huma.Operation{
		OperationID: "replayDeadLetters", Method: http.MethodPost, Path: "/v1/deliveries/replay",
		Tags:    []string{"deliveries"},
		Summary: "Deliver dead letters again",
		Description: "Each keeps its webhook-id. An event that the sink does not accept becomes " +
			"a dead letter again.",
	}, h.replayDeadLetters)
}

func (h *deliveryHandler) listSinks(ctx context.Context, _ *noParamsInput) (*listSinksOutput, error) {
	if h.deliveries == nil {
		return nil, h.logAndConvertError(ctx, health.ErrUnavailable)
	}
	list, err := h.deliveries.ListSinkStatuses(ctx)
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	out := &listSinksOutput{Body: SinkList{Sinks: make([]SinkStatus, 0, len(list)),
		Livemode: h.livemode}}
	for _, s := range list {
		out.Body.Sinks = append(out.Body.Sinks, SinkStatus{
			Sink: s.Sink, FailingSince: nilIfZeroTime(s.Failing), Reason: s.Reason,
			Disabled: s.Disabled, OldestAt: nilIfZeroTime(s.Oldest), ParkedHolds: s.Parked,
			DeadLetters: s.DeadLetters, EventsLost: s.EventsLost})
	}
	return out, nil
}

func (h *deliveryHandler) checkSinkExists(ctx context.Context, sink string) error {
	if h.deliveries == nil {
		return h.logAndConvertError(ctx, health.ErrUnavailable)
	}
	if !h.deliveries.HasSink(sink) {
		return newProblem(SinkNotFound, "sink",
			fmt.Sprintf("no sink %.100q: GET /v1/deliveries lists all sinks", sink))
	}
	return nil
}

func (h *deliveryHandler) listDeadLetters(
	ctx context.Context, in *listDeadLettersInput,
) (*listDeadLettersOutput, error) {
	if err := h.checkSinkExists(ctx, in.Sink); err != nil {
		return nil, err
	}
	list, total, err := h.deliveries.ListDeadLetters(ctx, in.Sink, in.Limit)
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	out := &listDeadLettersOutput{Body: DeadLetterList{Sink: in.Sink, Total: total,
		DeadLetters: make([]DeadLetter, 0, len(list))}}
	for _, d := range list {
		var e event.Envelope
		_ = json.Unmarshal(d.Event, &e) // an unreadable event is listed by its id
		out.Body.DeadLetters = append(out.Body.DeadLetters, DeadLetter{ID: d.ID, EventID: e.ID,
			Type: string(e.Type), Timestamp: e.Timestamp, HoldID: e.Data.Hold.ID, Reason: d.Reason})
	}
	return out, nil
}

func (h *deliveryHandler) replayDeadLetters(
	ctx context.Context, _ *noParamsInput,
) (*replayOutput, error) {
	in := replayRequest{}
	if err := requestInfoFromContext(ctx).decodeOptionalBody(&in); err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	if in.Sink == "" {
		in.Sink = defaultSink
	}
	if len(in.IDs) > maxReplayIDs {
		return nil, newProblem(InvalidParameter, "ids", fmt.Sprintf(
			"%d ids are too many: send at most %d", len(in.IDs), maxReplayIDs))
	}
	if err := h.checkSinkExists(ctx, in.Sink); err != nil {
		return nil, err
	}
	n, err := h.deliveries.RequeueDeadLetters(ctx, in.Sink, in.IDs)
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	h.log.Info("dead letters replayed", zap.String("event", "dead_letters.replayed"),
		zap.String("sink", in.Sink), zap.Int64("events", n),
		zap.String("by", requestInfoFromContext(ctx).by))
	h.recordAct(ctx, hold.AuditLogEntry{By: requestInfoFromContext(ctx).by,
		Act: hold.ActDeadLettersReplayed, Detail: fmt.Sprintf("%d of %s", n, in.Sink)})
	return &replayOutput{Body: ReplayResult{Replayed: n}}, nil
}
