package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/health"
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

func (p *Problem) write(w http.ResponseWriter) {
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // fails only if the caller has disconnected
}

func newProblem(code hold.ProblemCode, field, detail string) *Problem {
	k, ok := problemKindByCode[code]
	if !ok {
		// a new code of package hold: it is about the request
		k = problemKind{code: code, status: http.StatusUnprocessableEntity,
			title: "The request cannot be accepted"}
	}
	return &Problem{Type: ErrorsURL + "#" + string(code), Title: k.title, Status: k.status, Detail: detail,
		Code: code, Field: field}
}

func newInternalProblem() *Problem {
	return newProblem(InternalError, "", "internal error: see holdd's log for the cause")
}

func problemFromHoldProblem(p *hold.Problem) *Problem {
	out := newProblem(p.Code, p.Field, p.Detail)
	out.DeclineCode, out.PaymentIntent = p.DeclineCode, p.PaymentIntent
	if !p.Deadline.IsZero() {
		t := p.Deadline.UTC()
		out.Deadline = &t
	}
	return out
}

// problemFromError converts an error to a problem. callerError reports that the
// error is about the request; any other error's text must not reach the caller.
func problemFromError(err error) (p *Problem, callerError bool) {
	var holdProblem *hold.Problem
	switch {
	case errors.As(err, &p):
		return p, true
	case errors.As(err, &holdProblem):
		return problemFromHoldProblem(holdProblem), true
	case errors.Is(err, health.ErrMemoryLimit):
		return newProblem(StorageFull, "", "nothing was done: Redis has reached maxmemory, so holdd "+
			"accepts nothing new; raise maxmemory, then send the same request again"), false
	case errors.Is(err, health.ErrUnavailable), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, context.Canceled):
		return newProblem(Unavailable, "", "outcome unknown: send the same request again in a few "+
			"seconds; a repeated request takes effect once"), false
	}
	return newInternalProblem(), false
}

// convertHumaError converts huma's errors about parameters to problems.
func convertHumaError(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	if m.Status >= http.StatusInternalServerError { // its details are not for callers
		return newInternalProblem(), nil
	}
	p := newProblem(InvalidParameter, "", m.Detail)
	for i, e := range m.Errors {
		if e == nil {
			continue
		}
		field := e.Location[strings.LastIndexByte(e.Location, '.')+1:]
		if e.Message == "unknown query parameter" {
			p = setProblemCode(p, UnknownParameter)
		}
		if i == 0 {
			p.Field, p.Detail = field, e.Message
		}
		p.Errors = append(p.Errors, FieldError{Field: field, Detail: e.Message})
	}
	if len(p.Errors) == 1 {
		p.Errors = nil
	}
	return p, nil
}

func setProblemCode(p *Problem, code hold.ProblemCode) *Problem {
	q := newProblem(code, p.Field, p.Detail)
	q.Errors = p.Errors
	return q
}
