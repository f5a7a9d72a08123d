package hold

import (
	"cmp"
	"time"
)

// View is a hold as the API, events and the command line show it.
type View struct {
	ID            string     `json:"id" doc:"The PaymentIntent that first placed the hold"`
	PaymentIntent string     `json:"payment_intent" doc:"The PaymentIntent that holds the money now"`
	Account       string     `json:"account,omitempty"`
	Reference     string     `json:"reference,omitempty"`
	Amount        int64      `json:"amount,omitempty" doc:"Authorized and not captured yet, in minor units; absent while it is not known"`
	Currency      string     `json:"currency,omitempty"`
	CaptureAt     *time.Time `json:"capture_at,omitempty"`
	CancelAt      *time.Time `json:"cancel_at,omitempty"`
	CaptureAmount int64      `json:"capture_amount,omitempty" doc:"The total to capture, by any system. Absent: everything"`
	CaptureParams
	CapturedAmount    int64              `json:"captured_amount,omitempty" doc:"What was captured so far, by any system"`
	CapturedElsewhere int64              `json:"captured_elsewhere,omitempty" doc:"The part that other systems captured, as far as is known"`
	ExpiresAt         time.Time          `json:"expires_at" doc:"When the authorization ends"`
	ExpiresAtSource   string             `json:"expires_at_source" enum:"assumed,capture_before,caller"`
	OnExpiry          string             `json:"on_expiry" enum:"cancel,capture,alert"`
	State             string             `json:"state" enum:"waiting,paused,scheduled,ready,working,attention,captured,canceled,expired"`
	Features          []string           `json:"features,omitempty" doc:"What the charge allows beyond one capture: extended_authorization, incremental_authorization, multicapture, overcapture" nullable:"false"`
	Captures          []CaptureStageView `json:"captures,omitempty" doc:"The planned captures" nullable:"false"`
	NextCapture       *NextCaptureView   `json:"next_capture,omitempty" doc:"The next capture of a hold that is captured in parts"`
	Increment         *IncrementView     `json:"increment,omitempty" doc:"A requested increment that has no outcome yet"`
	Next              string             `json:"next,omitempty" enum:"capture,cancel,read,increment,renew,release" doc:"The next operation of holdd"`
	NextAt            *time.Time         `json:"next_at,omitempty"`
	Cause             string             `json:"cause,omitempty" doc:"The reason for the next operation, or for the state"`
	Revision          uint64             `json:"revision" doc:"Grows with each accepted change; the ETag"`
	Verified          bool               `json:"verified" doc:"Stripe has confirmed amount, currency and state"`
	Acknowledged      bool               `json:"acknowledged,omitempty"`
	Mirrored          bool               `json:"mirrored" doc:"The PaymentIntent's metadata has the terms, so that a lost schedule can be rebuilt"`
	CreatedAt         time.Time          `json:"created_at"`
	SettledAt         *time.Time         `json:"settled_at,omitempty"`
	Livemode          bool               `json:"livemode" doc:"Real money"`
	Metadata          map[string]string  `json:"metadata,omitempty"`
	History           []HistoryEntryView `json:"history,omitempty" doc:"Only in the response for a single hold"`
	HistoryOmitted    uint32             `json:"history_omitted,omitempty" doc:"How many entries after the first were dropped"`

	Warnings []TermsWarning `json:"warnings,omitempty" doc:"What to know about the terms of an open hold. Only in responses of the API"`

	Renewal *RenewalView `json:"renewal,omitempty" doc:"How the amount stays held after the authorization ends"`

	CancellationReason string `json:"cancellation_reason,omitempty" doc:"The reason that the next cancel sends to Stripe. Of a canceled hold: the reason that Stripe has"`
}

// IncrementView is a requested increment that has no outcome yet.
type IncrementView struct {
	Amount int64     `json:"amount" doc:"The authorized total to reach, in minor units"`
	Until  time.Time `json:"until" doc:"When holdd gives it up"`
}

// HistoryEntryView is one entry of a hold's history.
type HistoryEntryView struct {
	At             time.Time `json:"at"`
	Kind           string    `json:"kind"`
	By             string    `json:"by,omitempty"`
	Op             string    `json:"op,omitempty"`
	IdempotencyKey string    `json:"idempotency_key,omitempty"`
	RequestID      string    `json:"request_id,omitempty"`
	Answer         string    `json:"answer,omitempty"`
	Cause          string    `json:"cause,omitempty"`
	Note           string    `json:"note,omitempty"`
}

// NewView returns the view of a hold at now, with or without its history.
func NewView(h *Hold, now time.Time, history bool) View {
	v := View{
		ID: h.ID, PaymentIntent: h.PaymentIntent, Account: h.Account, Reference: h.Reference,
		Amount: h.Amount, Currency: h.Currency, CaptureAt: optionalTime(h.CaptureAt),
		CancelAt: optionalTime(h.CancelAt), CaptureAmount: h.CaptureAmount,
		CaptureParams:     h.CaptureParams,
		CapturedElsewhere: h.CapturedElsewhere,
		ExpiresAt:         h.ExpiresAt.UTC(), ExpiresAtSource: h.ExpiresSource.String(),
		OnExpiry: h.OnExpiry.String(),
		State:    h.StateWithDueAsReady(now).String(), Revision: h.Revision, Verified: h.Verified,
		Acknowledged: h.Acknowledged, Mirrored: h.Mirrored,
		CreatedAt: h.CreatedAt.UTC(), SettledAt: optionalTime(h.SettledAt), Metadata: h.Metadata,
		Features: h.Features.Names(),
	}
	if h.Increment.Amount != 0 {
		v.Increment = &IncrementView{h.Increment.Amount, h.Increment.Until.UTC()}
	}
	if isReplacementUnderWay(h) {
		v.Increment = &IncrementView{h.Renewal.IncrementTo, h.Renewal.IncrementUntil.UTC()}
	}
	if h.NextOp != 0 {
		v.Next, v.NextAt = h.NextOp.String(), optionalTime(h.NextAt)
	}
	v.Renewal = newRenewalView(h)
	addPartialCapturesToView(&v, h)
	if h.Reason != 0 {
		v.Cause = h.Reason.String()
	}
	if v.CancellationReason = h.CancellationReason; h.NextOp == OpCancel {
		v.CancellationReason = cancellationReasonToSend(h)
	}
	if history {
		v.HistoryOmitted = h.HistoryDropped
		for _, e := range h.History {
			w := HistoryEntryView{At: e.At.UTC(), Kind: e.Kind.String(), By: e.By,
				IdempotencyKey: e.Key, RequestID: e.RequestID, Note: e.Note}
			if e.Op != 0 {
				w.Op = e.Op.String()
			}
			if e.Answer != 0 {
				w.Answer = e.Answer.String()
			}
			if e.Cause != 0 {
				w.Cause = e.Cause.String()
			}
			v.History = append(v.History, w)
		}
	}
	return v
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// OnExpiryOrOnFailure returns the term that decides about the hold if it is still open near its
// deadline, and its value: on_failure of a hold that was to be renewed, otherwise on_expiry.
func (v *View) OnExpiryOrOnFailure() (name, policy string) {
	r, own := v.Renewal, cmp.Or(v.CaptureAt, v.CancelAt)
	switch {
	case r == nil || r.OnFailure == "" || r.Until == nil || !r.Until.After(v.ExpiresAt):
	case own == nil || !own.Before(v.ExpiresAt) || v.State == Paused.String() ||
		v.State == Attention.String():
		return "on_failure", r.OnFailure
	}
	return "on_expiry", v.OnExpiry
}
