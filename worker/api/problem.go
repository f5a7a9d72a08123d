package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

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
	case errors.Is(err, health.ErrCurrencyUnchecked):
		return newProblem(Unavailable, "", "nothing was done: Stripe cannot be read, so the currency "+
			"cannot be compared; send amount as well, or the same request again in a few seconds"), false
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
			p = copyProblemWithCode(p, UnknownParameter)
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

func copyProblemWithCode(p *Problem, code hold.ProblemCode) *Problem {
	q := newProblem(code, p.Field, p.Detail)
	q.Errors = p.Errors
	return q
}
