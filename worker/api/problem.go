package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
)

// Codes of what can be wrong with a request before it becomes a wish, beside
// those of package hold. They are stable: callers branch on them.
const (
	InvalidJSON          hold.Code = "invalid_json"
	InvalidType          hold.Code = "invalid_type"
	UnknownField         hold.Code = "unknown_field"
	InvalidParameter     hold.Code = "invalid_parameter"
	UnknownParameter     hold.Code = "unknown_parameter"
	InvalidIfMatch       hold.Code = "invalid_if_match"
	InvalidBatch         hold.Code = "invalid_batch"
	BodyRequired         hold.Code = "body_required"
	BodyTooLarge         hold.Code = "body_too_large"
	BodyTimeout          hold.Code = "body_timeout"
	UnsupportedMediaType hold.Code = "unsupported_media_type"
	RouteNotFound        hold.Code = "route_not_found"
	MethodNotAllowed     hold.Code = "method_not_allowed"
	TokenRequired        hold.Code = "token_required"
	TokenInvalid         hold.Code = "token_invalid"
	TokenReadOnly        hold.Code = "token_read_only"
	HostNotAllowed       hold.Code = "host_not_allowed"
	CrossOriginRefused   hold.Code = "cross_origin_refused"
	Unavailable          hold.Code = "unavailable"
	InternalError        hold.Code = "internal_error"
	ReconcileRunNotFound hold.Code = "run_not_found"
	SinkNotFound         hold.Code = "sink_not_found"
	InvalidSignature     hold.Code = "invalid_signature" // of a webhook
	// of the client: what answered doesn't speak this API
	UnexpectedResponse hold.Code = "unexpected_answer"
)

// problemKind is what all problems of one code have in common.
type problemKind struct {
	code   hold.Code
	status int
	title  string
}

// problemCatalog is the catalog of everything that can come back; the
// documentation page lists it.
var problemCatalog = []problemKind{
	{InvalidJSON, 400, "The body is not valid JSON"},
	{BodyRequired, 400, "The request needs a JSON body"},
	{InvalidIfMatch, 400, "If-Match is not one quoted revision"},
	{InvalidSignature, 400, "The webhook is not signed as it should be"},
	{intake.WrongMode, 400, "The event is of the other mode"},
	{TokenRequired, 401, "A token is required"},
	{TokenInvalid, 401, "The token is unknown"},
	{TokenReadOnly, 403, "The token may only read"},
	{HostNotAllowed, 403, "Without tokens only loopback names are answered"},
	{CrossOriginRefused, 403, "A web page of another origin may not change anything"},
	{RouteNotFound, 404, "There is nothing at this path"},
	{hold.InvalidIdempotencyKey, 400, "Idempotency-Key is missing or not 8 to 128 characters"},
	{hold.CardDeclined, 402, "The card was declined"},
	{hold.AuthorizationNotFound, 404, "There is no such authorization"},
	{hold.HoldNotFound, 404, "There is no such hold"},
	{hold.IntentNotFound, 404, "Stripe doesn't know this PaymentIntent"},
	{ReconcileRunNotFound, 404, "There was no such comparison with Stripe"},
	{SinkNotFound, 404, "There is no such sink"},
	{MethodNotAllowed, 405, "The path does not know this method"},
	{BodyTimeout, 408, "The body did not arrive in time"},
	{hold.HoldExists, 409, "The hold is scheduled with other terms"},
	{hold.InvalidCursor, 422, "The cursor is not one of ours"},
	{hold.IdempotencyKeyReused, 409, "The Idempotency-Key came with another request before"},
	{hold.InProgress, 409, "The same request is under way"},
	{hold.AuthorizationAbandoned, 409, "The authorization was not finished in time"},
	{hold.TooLate, 409, "The hold is being worked on"},
	{hold.AlreadyCaptured, 409, "The hold was captured already"},
	{hold.AlreadyCanceled, 409, "The hold was canceled already"},
	{hold.AlreadyExpired, 409, "The hold expired already"},
	{hold.AlreadyPaused, 409, "The hold is paused already"},
	{hold.NotPaused, 409, "The hold is not paused"},
	{hold.HoldPaused, 409, "The hold is paused"},
	{hold.CancelAccepted, 409, "The hold is being canceled"},
	{hold.NothingToAcknowledge, 409, "There is nothing to acknowledge"},
	{hold.RevisionMismatch, 412, "The hold has changed meanwhile"},
	{BodyTooLarge, 413, "The body is too large"},
	{UnsupportedMediaType, 415, "The body is not application/json"},
	{InvalidType, 422, "A field has the wrong type"},
	{UnknownField, 422, "The body has a field that is not known"},
	{InvalidParameter, 422, "A parameter is not valid"},
	{UnknownParameter, 422, "A query parameter is not known"},
	{InvalidBatch, 422, "The batch is empty or has too many holds"},
	{hold.InvalidID, 422, "The id is not valid"},
	{hold.InvalidField, 422, "A field is not valid"},
	{hold.AuthorizationRefused, 422, "Stripe refused the request"},
	{hold.InvalidAmount, 422, "The amount is not valid"},
	{hold.AmountTooLarge, 422, "The amount is more than the hold has"},
	{hold.InvalidCurrency, 422, "The currency is not valid"},
	{hold.CurrencyMismatch, 422, "The currency is not the hold's"},
	{hold.AmountMismatch, 422, "The amount is not the hold's"},
	{hold.InvalidTime, 422, "The time is not valid"},
	{hold.UnknownTimeZone, 422, "The time zone is not known"},
	{hold.InThePast, 422, "The time is past"},
	{hold.AfterDeadline, 422, "The authorization ends before that time"},
	{hold.WouldCancelNow, 422, "The deadline's policy would release the money at once"},
	{hold.WouldCaptureNow, 422, "The deadline's policy would capture the money at once"},
	{hold.ConflictingTimes, 422, "A hold is captured or canceled, not both"},
	{hold.InvalidPolicy, 422, "The policy is not known"},
	{hold.InvalidReference, 422, "The reference is not valid"},
	{hold.InvalidMetadata, 422, "The metadata is not valid"},
	{hold.NotCapturable, 422, "The PaymentIntent holds no money"},
	{hold.NothingToChange, 422, "The change names no term"},
	{InternalError, 500, "Internal error"},
	{Unavailable, 503, "Not available for the moment"},
	{hold.OutcomeUnknown, 503, "It isn't known yet whether the card was authorized"},
}

var problemKindByCode = func() map[hold.Code]problemKind {
	m := make(map[hold.Code]problemKind, len(problemCatalog))
	for _, k := range problemCatalog {
		m[k.code] = k
	}
	return m
}()

// retryAfterSeconds is what a 503 tells in Retry-After, in seconds.
const retryAfterSeconds = "2"

// Problem is an error as RFC 9457 has it. It is what the server sends and what
// the client returns; callers branch on Code.
type Problem struct {
	Type     string     `json:"type" doc:"Where this code is explained, relative to the API's address" example:"/docs#hold_exists"`
	Title    string     `json:"title" doc:"The same for every problem of this code"`
	Status   int        `json:"status" doc:"HTTP status" example:"409"`
	Detail   string     `json:"detail" doc:"What is wrong here and what to do about it"`
	Code     hold.Code  `json:"code" doc:"Stable name of the problem: branch on this" example:"hold_exists"`
	Field    string     `json:"field,omitempty" doc:"Field or parameter at fault"`
	Deadline *time.Time `json:"deadline,omitempty" doc:"When the authorization ends, of after_deadline, would_cancel_now and would_capture_now"`
	// Of card_declined.
	DeclineCode   string `json:"decline_code,omitempty" doc:"Why the bank refused, of card_declined" example:"insufficient_funds"`
	PaymentIntent string `json:"payment_intent,omitempty" doc:"The authorization, which can be confirmed with another card, of card_declined"`

	Errors []FieldError `json:"errors,omitempty" doc:"All faults, where there are several"`
}

// FieldError is one of several things wrong with a request.
type FieldError struct {
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
}

// Error is the detail, led by the field at fault.
func (p *Problem) Error() string {
	if p.Field != "" {
		return p.Field + ": " + p.Detail
	}
	return p.Detail
}

// Is lets errors.Is(err, &Problem{Code: c}) match by code.
func (p *Problem) Is(target error) bool {
	t, ok := target.(*Problem)
	return ok && t.Code == p.Code
}

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is that of RFC 9457, whatever was negotiated: it is JSON either
// way.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders are the headers that go with the problem.
func (p *Problem) GetHeaders() http.Header {
	switch p.Code {
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
	_ = json.NewEncoder(w).Encode(p) // the caller has gone: nobody is left to tell
}

func newProblem(code hold.Code, field, detail string) *Problem {
	k, ok := problemKindByCode[code]
	if !ok {
		// a code that hold has learned since: it is about the wish, so it is
		// the caller's to mend
		k = problemKind{code: code, status: http.StatusUnprocessableEntity,
			title: "The request can't be granted"}
	}
	return &Problem{Type: "/docs#" + string(code), Title: k.title, Status: k.status, Detail: detail,
		Code: code, Field: field}
}

func problemFromHold(p *hold.Problem) *Problem {
	out := newProblem(p.Code, p.Field, p.Detail)
	out.DeclineCode, out.PaymentIntent = p.DeclineCode, p.PaymentIntent
	if !p.Deadline.IsZero() {
		t := p.Deadline.UTC()
		out.Deadline = &t
	}
	return out
}

// logAndConvertError turns any error into what the caller may know of it. What
// only the operator may know is logged here, once.
func (a *API) logAndConvertError(ctx context.Context, err error) *Problem {
	p, callerError := problemFromError(err)
	switch {
	case callerError:
	case errors.Is(ctx.Err(), context.Canceled): // the caller has gone, or the daemon stops
	case p.Code == Unavailable:
		a.log.Warn("request not served for now",
			append(requestInfoFrom(ctx).logFields(), zap.Error(err))...)
	default:
		a.log.Error("request ended in an internal error",
			append(requestInfoFrom(ctx).logFields(), zap.Error(err))...)
	}
	return p
}

// problemFromError decides what kind of problem an error is. own tells that it
// is about the request; else its text is not for callers.
func problemFromError(err error) (p *Problem, callerError bool) {
	var holdProblem *hold.Problem
	switch {
	case errors.As(err, &p):
		return p, true
	case errors.As(err, &holdProblem):
		return problemFromHold(holdProblem), true
	case errors.Is(err, health.ErrUnavailable), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, context.Canceled):
		return newProblem(Unavailable, "",
			"holdd can't tell whether this was done: send the same again in a moment, that does no harm"), false
	}
	return newProblem(InternalError, "", "internal error: holdd's log tells more"), false
}

// convertHumaError gives the errors that huma finds in parameters the shape of
// all others.
func convertHumaError(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	if m.Status >= 500 { // its details are not for callers
		return newProblem(InternalError, "", "internal error: holdd's log tells more"), nil
	}
	p := newProblem(InvalidParameter, "", m.Detail)
	for i, e := range m.Errors {
		if e == nil {
			continue
		}
		_, field, _ := cutLast(e.Location, '.')
		if e.Message == "unknown query parameter" {
			p = withCode(p, UnknownParameter)
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

func withCode(p *Problem, code hold.Code) *Problem {
	q := newProblem(code, p.Field, p.Detail)
	q.Errors = p.Errors
	return q
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == sep {
			return s[:i], s[i+1:], true
		}
	}
	return "", s, false
}
