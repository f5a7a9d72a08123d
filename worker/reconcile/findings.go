package reconcile

import (
	"context"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

const (
	// maxFindings bounds the findings that one run keeps, maxOfOneKind those of
	// one kind, so that thousands of rebuilt holds leave space for findings
	// that need the operator.
	maxFindings  = 1000
	maxOfOneKind = 500
	// maxFindingLines bounds the findings that one run logs.
	maxFindingLines = 100
	// findingLogInterval is how often a replica logs the same finding, because
	// every run finds the same orphans.
	findingLogInterval = 24 * time.Hour
	// maxLoggedFindings bounds the findings that a replica remembers as logged.
	maxLoggedFindings = 10_000
	publishTimeout    = 3 * time.Second
)

// FindingKind is how Stripe and the schedule differ about an intent.
type FindingKind string

// Kinds of findings.
const (
	FoundScheduled FindingKind = "scheduled" // had terms and no hold; is scheduled now
	FoundChanged   FindingKind = "changed"   // the amount or the deadline has changed
	FoundCaptured  FindingKind = "captured"  // captured elsewhere, such as in the Dashboard
	FoundCanceled  FindingKind = "canceled"  // released elsewhere
	FoundExpired   FindingKind = "expired"   // released by the card network
	FoundAttention FindingKind = "attention" // the hold requires attention
	// Stripe shows another state than the settled hold, which requires attention now
	FoundContradiction FindingKind = "contradiction"
	// FoundReleased is an earlier intent of a hold that held money beside it
	FoundReleased FindingKind = "released"
	FoundOrphan   FindingKind = "orphan"   // holds money, has no hold and no terms; never touched
	FoundRejected FindingKind = "rejected" // the terms in its metadata are invalid
	// FoundRecent is an intent that holds money, has no terms and is too young
	// to be an orphan. It does not need the operator.
	FoundRecent     FindingKind = "recent"
	FoundUnreadable FindingKind = "unreadable" // Stripe refuses to list this account's intents
)

// FindingKinds lists every kind.
func FindingKinds() []FindingKind {
	return []FindingKind{
		FoundScheduled, FoundChanged, FoundCaptured, FoundCanceled, FoundExpired,
		FoundAttention, FoundContradiction, FoundReleased, FoundOrphan,
		FoundRecent, FoundRejected, FoundUnreadable,
	}
}

// Finding is one difference between Stripe and the schedule.
type Finding struct {
	Kind          FindingKind `json:"kind"`
	PaymentIntent string      `json:"payment_intent,omitempty"`
	Account       string      `json:"account,omitempty"`
	Reference     string      `json:"reference,omitempty"`
	Amount        int64       `json:"amount,omitempty"` // minor units
	Currency      string      `json:"currency,omitempty"`
	// ExpiresAt is when the authorization ends; zero if it holds no money or is not known.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Detail    string    `json:"detail,omitempty"` // a sentence for the operator
}

// isOfIntentWithoutHold reports whether the finding is about an intent that holds
// money and has neither a hold nor valid terms.
func (f *Finding) isOfIntentWithoutHold() bool {
	return f.Kind == FoundRecent || f.NeedsAdoption()
}

// NeedsAdoption reports whether the finding is about an intent that holds money
// and gets a hold only if an operator schedules it.
func (f *Finding) NeedsAdoption() bool {
	return f.Kind == FoundOrphan || f.Kind == FoundRejected
}

// needsSeparateReport reports whether the finding is logged and published by
// itself. Every other finding has an event of its hold.
func (f *Finding) needsSeparateReport() bool {
	return f.Kind == FoundOrphan || f.Kind == FoundRejected || f.Kind == FoundUnreadable
}

// EventPublisher publishes a system event once over all replicas.
// [event.SystemEventPublisher] implements it.
type EventPublisher interface {
	PublishOnce(
		ctx context.Context, t hold.EventType, about string, data event.EventData,
	) (first bool, err error)
}

// findingReporter logs and publishes findings that only the operator can
// settle. All runs of a replica share it, so that each finding is logged once a
// day.
type findingReporter struct {
	publisher EventPublisher
	health    *health.Reporter
	log       *zap.Logger

	mu     sync.Mutex
	logged map[string]time.Time // when each finding was last logged
}

// reportOncePerInterval logs and publishes a finding unless it was logged
// within [findingLogInterval]. It returns whether it did.
func (r *findingReporter) reportOncePerInterval(ctx context.Context, f Finding) bool {
	if !r.rememberLoggedIfDue(f) {
		return false
	}
	r.publish(ctx, f)
	fields := []zap.Field{
		zap.String("payment_intent", f.PaymentIntent), zap.String("account", f.Account),
		zap.Int64("amount", f.Amount), zap.String("currency", f.Currency),
		zap.String("reason", f.Detail),
	}
	switch f.Kind {
	case FoundOrphan:
		r.log.Warn("reconcile.orphan", append(fields, zap.String("event", "reconcile.orphan"))...)
	case FoundRejected:
		r.log.Error("metadata.rejected",
			append(fields, zap.String("event", "metadata.rejected"))...)
	default:
		r.log.Error("reconcile.unreadable",
			append(fields, zap.String("event", "reconcile.unreadable"))...)
	}
	return true
}

// publish publishes a finding, once over all replicas. It continues after the
// run is canceled, because the finding already counts as logged.
func (r *findingReporter) publish(ctx context.Context, f Finding) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	var err error
	switch f.Kind {
	case FoundOrphan:
		data := event.EventData{Intent: &event.IntentWithoutHold{
			PaymentIntent: f.PaymentIntent, Account: f.Account, Reference: f.Reference,
			Amount: f.Amount, Currency: f.Currency, Detail: f.Detail,
		}}
		_, err = r.publisher.PublishOnce(ctx, event.Orphan, f.PaymentIntent, data)
	case FoundRejected:
		data := event.EventData{Rejection: &event.RequestRejection{
			Source: "stripe", ID: f.PaymentIntent, Account: f.Account, Reason: f.Detail,
		}}
		_, err = r.publisher.PublishOnce(ctx, event.MetadataRejected, f.PaymentIntent, data)
	}
	if err != nil {
		r.health.ReportError(ctx, "publish a finding", err)
	}
}

// rememberLoggedIfDue reports whether the finding was not logged within
// [findingLogInterval], and remembers it as logged.
func (r *findingReporter) rememberLoggedIfDue(f Finding) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := string(f.Kind) + " " + f.Account + " " + f.PaymentIntent + " " + f.Detail
	now := time.Now()
	if at, ok := r.logged[key]; ok && now.Sub(at) < findingLogInterval {
		return false
	}
	if r.logged == nil || len(r.logged) >= maxLoggedFindings {
		r.logged = map[string]time.Time{}
	}
	r.logged[key] = now
	return true
}
