package client

import (
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// BatchResult is the result for one hold of a batch: Hold or Problem.
type BatchResult struct {
	Status  int        `json:"status" doc:"The status of the same request sent alone: 201 created, 200 scheduled before, otherwise the problem's"`
	Hold    *hold.View `json:"hold,omitempty"`
	Problem *Problem   `json:"problem,omitempty"`
}

// BatchResponse answers POST /v1/holds:batch, in the order of the request.
type BatchResponse struct {
	Results []BatchResult `json:"results" nullable:"false"`
}

// BatchRequest is the body of POST /v1/holds:batch.
type BatchRequest struct {
	Holds []hold.ScheduleRequest `json:"holds" maxItems:"1000" minItems:"1" nullable:"false"`
}

// ListPage is one page of a list. It may have fewer holds than requested, even
// none, and still have a Next.
type ListPage struct {
	Holds []hold.View `json:"holds" nullable:"false"`
	Next  string      `json:"next,omitempty" doc:"Send it as cursor to get the next page. Absent on the last page"`
	Now   time.Time   `json:"now" doc:"Redis' time when the page was read"`
}

// CancelRequest is the body of POST /v1/holds/{id}/cancel.
type CancelRequest struct {
	CancellationReason string `json:"cancellation_reason,omitempty" enum:"abandoned,duplicate,fraudulent,requested_by_customer" doc:"The reason that Stripe keeps. Default: the setting cancellation_reason" example:"duplicate"`
}

// PauseResumeRequest is the body of POST /v1/holds/{id}/pause and resume.
type PauseResumeRequest struct {
	Confirm bool `json:"confirm,omitempty" doc:"Accept the request although on_expiry then captures or releases the money at once"`
}

// CardholderLink is a link for the cardholder of a hold.
type CardholderLink struct {
	URL          string    `json:"url" doc:"The page for the cardholder. Whoever has it can act for the cardholder"`
	ExpiresAt    time.Time `json:"expires_at" doc:"The authorization's deadline"`
	ActionNeeded string    `json:"action_needed" enum:"authentication,card" doc:"What the page asks for"`
}

// Authorization is the state of a card's authorization. ClientSecret and
// NextAction are for the cardholder's browser. holdd sends them in this
// response and stores them nowhere.
type Authorization struct {
	ID           string      `json:"id" doc:"The PaymentIntent. Confirm the authorization by this id" example:"pi_3PxYzA2eZvKYlo2C1gQmT0aB"`
	Status       string      `json:"status" enum:"authorized,requires_action,requires_confirmation,processing" doc:"authorized: the hold exists. requires_action: pass client_secret to Stripe.js (handleNextAction) or redirect the cardholder to next_action.redirect_url, then confirm. requires_confirmation: confirm. processing: the hold appears without another request"`
	Hold         *hold.View  `json:"hold,omitempty" doc:"The hold, once authorized"`
	ClientSecret string      `json:"client_secret,omitempty" doc:"Only for the cardholder's browser. Do not log or store it"`
	NextAction   *NextAction `json:"next_action,omitempty" doc:"What the cardholder's bank requires"`
	Livemode     bool        `json:"livemode" doc:"Whether it is of Stripe's live mode"`
}

// NextAction is the cardholder's next step.
type NextAction struct {
	Type        string `json:"type" example:"use_stripe_sdk"`
	RedirectURL string `json:"redirect_url,omitempty" doc:"The bank's page, if the request had a return_url. As secret as client_secret"`
}
