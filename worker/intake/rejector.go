package intake

import (
	"context"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// Sources of requests without a waiting caller.
const (
	sourceInbox  = "inbox"
	sourceStripe = "stripe" // terms in an intent's metadata
)

// RejectionStore keeps rejected requests for the operator. store.Store
// implements it.
type RejectionStore interface {
	AppendRejectedRequest(ctx context.Context, r hold.RejectedRequest) error
}

// SystemEventPublisher publishes system events. [event.SystemEventPublisher]
// implements it.
type SystemEventPublisher interface {
	PublishOnce(
		ctx context.Context, t hold.EventType, about string, data event.EventData,
	) (first bool, err error)
}

// RejectionObserver counts rejected requests, for metrics. daemon.metrics
// implements it.
type RejectionObserver interface {
	InboxOrMetadataRequestRejected(source string, code hold.ProblemCode)
}

// RejectorOptions configure a [Rejector].
type RejectorOptions struct {
	Health   *health.Reporter
	Observer RejectionObserver // may be nil
	Logger   *zap.Logger
}

// Rejector rejects requests from the inbox and from metadata. No caller waits
// for their answer, so it records them for the operator.
type Rejector struct {
	store     RejectionStore
	publisher SystemEventPublisher
	o         RejectorOptions
}

// NewRejector returns a rejector that records rejections in store and publishes
// them.
func NewRejector(
	store RejectionStore, publisher SystemEventPublisher, o RejectorOptions,
) *Rejector {
	return &Rejector{store: store, publisher: publisher, o: o}
}

// Reject records a rejected request, publishes it once over all replicas, then
// logs and counts it. An error wraps [health.ErrUnavailable]; the caller may
// reject the same request again.
func (r *Rejector) Reject(ctx context.Context, req hold.RejectedRequest, account string) error {
	if err := r.store.AppendRejectedRequest(ctx, req); err != nil {
		return r.o.Health.ReportAndWrapUnavailable(ctx, "record a rejected request", err)
	}
	eventType := event.InboxRejected
	if req.Source == sourceStripe {
		eventType = event.MetadataRejected
	}
	data := event.EventData{Rejection: &event.RequestRejection{
		Source: req.Source, ID: req.ID, Account: account,
		Code: string(req.Code), Field: req.Field, Reason: req.Reason}}
	if _, err := r.publisher.PublishOnce(ctx, eventType, req.ID, data); err != nil {
		return r.o.Health.ReportAndWrapUnavailable(ctx, "publish a rejected request", err)
	}
	r.o.Logger.Error(string(eventType), zap.String("event", string(eventType)),
		zap.String("id", req.ID), zap.String("account", account),
		zap.String("code", string(req.Code)), zap.String("field", req.Field),
		zap.String("reason", req.Reason))
	if r.o.Observer != nil {
		r.o.Observer.InboxOrMetadataRequestRejected(req.Source, req.Code)
	}
	return nil
}
