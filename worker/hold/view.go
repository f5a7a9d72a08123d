package hold

import "time"

// View is a hold as it is shown to people and machines: by the API, in events,
// by the command line.
type View struct {
	ID                string             `json:"id" doc:"The PaymentIntent that first placed the hold"`
	PaymentIntent     string             `json:"payment_intent" doc:"The PaymentIntent that holds the money now"`
	Account           string             `json:"account,omitempty"`
	Reference         string             `json:"reference,omitempty"`
	Amount            int64              `json:"amount,omitempty" doc:"Authorized and not captured yet, in minor units; absent while it isn't known"`
	Currency          string             `json:"currency,omitempty"`
	CaptureAt         *time.Time         `json:"capture_at,omitempty"`
	CancelAt          *time.Time         `json:"cancel_at,omitempty"`
	CaptureAmount     int64              `json:"capture_amount,omitempty" doc:"The total wanted, whoever takes it. Absent: everything"`
	CapturedAmount    int64              `json:"captured_amount,omitempty" doc:"What was really taken"`
	CapturedElsewhere int64              `json:"captured_elsewhere,omitempty" doc:"What another system took, as far as is known: of a hold that is still open, or of captured_amount"`
	ExpiresAt         time.Time          `json:"expires_at" doc:"When the authorization ends"`
	ExpiresAtSource   string             `json:"expires_at_source" enum:"assumed,capture_before,caller"`
	OnExpiry          string             `json:"on_expiry" enum:"cancel,capture,alert"`
	State             string             `json:"state" enum:"waiting,paused,scheduled,ready,working,attention,captured,canceled,expired"`
	Next              string             `json:"next,omitempty" enum:"capture,cancel,read" doc:"What holdd does next by itself"`
	NextAt            *time.Time         `json:"next_at,omitempty"`
	Cause             string             `json:"cause,omitempty" doc:"Why it is going to be done, or why the hold is where it is"`
	Revision          uint64             `json:"revision" doc:"Grows with each accepted change; the ETag"`
	Verified          bool               `json:"verified" doc:"Stripe has confirmed amount, currency and state"`
	Acknowledged      bool               `json:"acknowledged,omitempty"`
	Mirrored          bool               `json:"mirrored" doc:"The terms stand in the PaymentIntent's metadata, from which a lost schedule can be rebuilt"`
	CreatedAt         time.Time          `json:"created_at"`
	SettledAt         *time.Time         `json:"settled_at,omitempty"`
	Livemode          bool               `json:"livemode" doc:"Real money"`
	Metadata          map[string]string  `json:"metadata,omitempty"`
	History           []HistoryEntryView `json:"history,omitempty" doc:"Only when one hold is asked for"`
	HistoryOmitted    uint32             `json:"history_omitted,omitempty" doc:"Lines between the first and the rest that were dropped to keep the bound"`
}

// HistoryEntryView is one line of a hold's history.
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

// View shows the hold at now, with its history if asked for.
func (h *Hold) View(now time.Time, history bool) View {
	v := View{
		ID: h.ID, PaymentIntent: h.PaymentIntent, Account: h.Account, Reference: h.Reference,
		Amount: h.Amount, Currency: h.Currency, CaptureAt: optionalTime(h.CaptureAt),
		CancelAt: optionalTime(h.CancelAt), CaptureAmount: h.CaptureAmount,
		CapturedAmount: h.CapturedAmount, CapturedElsewhere: h.CapturedElsewhere,
		ExpiresAt: h.ExpiresAt.UTC(), ExpiresAtSource: h.ExpiresSource.String(),
		OnExpiry: h.OnExpiry.String(),
		State:    h.StateAt(now).String(), Revision: h.Revision, Verified: h.Verified,
		Acknowledged: h.Acknowledged, Mirrored: h.Mirrored,
		CreatedAt: h.CreatedAt.UTC(), SettledAt: optionalTime(h.SettledAt), Metadata: h.Metadata,
	}
	if h.NextOp != 0 {
		v.Next, v.NextAt = h.NextOp.String(), optionalTime(h.NextAt)
	}
	if h.Reason != 0 {
		v.Cause = h.Reason.String()
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
