package client

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// retryAfterSeconds is the Retry-After of a 503.
const retryAfterSeconds = "2"

// storageFullRetrySeconds is the Retry-After of a 507: an operator must act.
const storageFullRetrySeconds = "60"

// Problem is an error as defined by RFC 9457. The server sends it and the
// client returns it. Callers branch on Code.
type Problem struct {
	Type     string           `json:"type" format:"uri" doc:"The page about the code" example:"https://github.com/holdd/holdd/blob/main/deploy/docs/errors.md#hold_exists"`
	Title    string           `json:"title" doc:"Summary of the code"`
	Status   int              `json:"status" doc:"HTTP status" example:"409"`
	Detail   string           `json:"detail" doc:"The error and what to do about it"`
	Code     hold.ProblemCode `json:"code" doc:"Stable name of the error. Branch on this" example:"hold_exists"`
	Field    string           `json:"field,omitempty" doc:"Field or parameter with the error"`
	Deadline *time.Time       `json:"deadline,omitempty" doc:"When the authorization ends. Set for after_deadline, would_cancel_now and would_capture_now"`

	DeclineCode   string `json:"decline_code,omitempty" doc:"The bank's reason. Set for card_declined and declined" example:"insufficient_funds"`
	PaymentIntent string `json:"payment_intent,omitempty" doc:"The authorization, which can be confirmed with another card. Set for card_declined"`

	Errors []FieldError `json:"errors,omitempty" doc:"All errors, if there are several" nullable:"false"`

	IDs []string `json:"ids,omitempty" doc:"Holds that have the reference, at most ten. Set for ambiguous_reference" nullable:"false"`
}

// FieldError is one of several errors of a request.
type FieldError struct {
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
}

// Error returns the detail, after the name of the field if there is one.
func (p *Problem) Error() string {
	if p.Field != "" {
		return p.Field + ": " + p.Detail
	}
	return p.Detail
}

// Is makes errors.Is(err, &Problem{Code: c}) match by code.
func (p *Problem) Is(target error) bool {
	t, ok := target.(*Problem)
	return ok && t.Code == p.Code
}

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType returns the media type of RFC 9457.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders returns the headers of the problem's code.
func (p *Problem) GetHeaders() http.Header {
	switch p.Code {
	case StorageFull:
		return http.Header{"Retry-After": {storageFullRetrySeconds}}
	case Unavailable, hold.OutcomeUnknown, hold.InProgress:
		return http.Header{"Retry-After": {retryAfterSeconds}}
	case TokenRequired:
		return http.Header{"Www-Authenticate": {`Bearer realm="holdd"`}}
	case TokenInvalid:
		return http.Header{"Www-Authenticate": {`Bearer realm="holdd", error="invalid_token"`}}
	}
	return nil
}

// Write writes the problem as the response to a request.
func (p *Problem) Write(w http.ResponseWriter) {
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // fails only if the caller has disconnected
}

// ownProblemType is the type of problems that the client finds by itself.
const ownProblemType = "about:blank"

// newRequestProblem returns a problem of a request that was not sent.
func newRequestProblem(p *hold.Problem) *Problem {
	return &Problem{Type: ownProblemType, Title: "The request cannot be accepted",
		Status: http.StatusUnprocessableEntity, Detail: p.Detail, Code: p.Code, Field: p.Field}
}
