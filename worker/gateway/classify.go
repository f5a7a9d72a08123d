package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// failed classifies everything but a good answer. It never uses err.Error() of an error that has seen a body: stripe-go puts
// client secrets and pieces of bodies there.
func (g *Gateway) failed(f *flight, err error, id string, mutation bool) hold.Answer {
	a := hold.Answer{HTTPStatus: f.status, RequestID: f.requestID, Replayed: f.replayed}
	var se *stripe.Error
	switch {
	case f.status == 0 && !f.sent():
		a.Kind, a.Message = hold.AnswerUnreachable, "nothing was sent: "+g.reason(err, true)
	case f.status == 0:
		a.Kind, a.Message = hold.AnswerUnknown, "no answer: "+g.reason(err, false)
	case errors.As(err, &se) && f.status >= 400 && se.Type != "":
		a.Kind = kindOf(f, se, mutation)
		a.Code = cmp.Or(g.scrub.code(string(se.DeclineCode)), g.scrub.code(string(se.Code)))
		a.Message = g.scrub.message(se.Msg)
		a.Intent = g.intent(se.PaymentIntent, id)
	case f.status == http.StatusTooManyRequests:
		// Whoever says so, Stripe's edge or a proxy, did not let the request in.
		a.Kind, a.Message = hold.AnswerRateLimited, "429 without an error of Stripe's: "+f.mediaType
	default:
		a.Kind, a.Message = unsettled(f, mutation), statusText(f.status)+", body "+f.mediaType+": "+g.unreadable(f, err)
	}
	return a
}

// kindOf classifies an error of Stripe's own. Where the code and the status could disagree, the more careful reading comes first.
func kindOf(f *flight, e *stripe.Error, mutation bool) hold.AnswerKind {
	if openEnded(f.status) {
		return unsettled(f, mutation)
	}
	switch e.Code {
	case stripe.ErrorCodeIdempotencyKeyInUse: // before the type, which is idempotency_error as well
		return hold.AnswerKeyInUse
	case stripe.ErrorCodeLockTimeout:
		return hold.AnswerLockTimeout
	case stripe.ErrorCodePaymentIntentUnexpectedState:
		return hold.AnswerUnexpectedState
	case stripe.ErrorCodeChargeAlreadyCaptured, stripe.ErrorCodeChargeExpiredForCapture,
		stripe.ErrorCodeCaptureChargeAuthorizationExpired, stripe.ErrorCodeCaptureUnauthorizedPayment:
		return hold.AnswerChargeGone
	case stripe.ErrorCodeAmountTooLarge:
		return hold.AnswerAmountTooLarge
	case stripe.ErrorCodeResourceMissing:
		return hold.AnswerNotFound
	}
	switch f.status {
	case http.StatusTooManyRequests:
		return hold.AnswerRateLimited
	case http.StatusUnauthorized:
		return hold.AnswerUnauthorized
	case http.StatusForbidden:
		return hold.AnswerForbidden
	case http.StatusConflict:
		if e.Type == stripe.ErrorTypeIdempotency { // as in use, from before errors had codes
			return hold.AnswerKeyInUse
		}
		return hold.AnswerUnknown
	case http.StatusRequestTimeout, http.StatusTooEarly:
		return hold.AnswerUnknown // not in Stripe's docs: what came of the request isn't told
	}
	switch e.Type {
	case stripe.ErrorTypeIdempotency:
		return hold.AnswerIdempotencyError
	case stripe.ErrorTypeCard:
		return hold.AnswerDeclined
	}
	if f.retry == "true" {
		return hold.AnswerUnknown // Stripe knows better than the status: the matter isn't closed
	}
	return hold.AnswerInvalid
}

// openEnded reports the statuses that say nothing about the effect: 5xx, and 424, where something that Stripe depends on went wrong.
func openEnded(status int) bool {
	return status >= http.StatusInternalServerError || status == http.StatusFailedDependency
}

// unsettled is the kind of an answer that doesn't tell what happened: unknown, unless Stripe says that this key will never tell.
// "Stripe-Should-Retry: false" says of the same request what a replay proves.
func unsettled(f *flight, mutation bool) hold.AnswerKind {
	if mutation && openEnded(f.status) && (f.replayed || f.retry == "false") {
		return hold.AnswerReplayedError
	}
	return hold.AnswerUnknown
}

// unreadable says why an answer could not be used, in fixed words.
func (g *Gateway) unreadable(f *flight, err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, errTooLong):
		return "longer than any of Stripe's"
	case errors.Is(err, context.DeadlineExceeded):
		return "it did not end in time"
	case errors.Is(err, context.Canceled):
		return "the caller went away before its end"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &op):
		return "the connection broke before its end"
	case f.status >= 300 && f.status < 400:
		return "a redirect, which is not followed: check that the base URL is Stripe's"
	case f.status >= 500:
		return "a proxy's or Stripe's edge, not an error of Stripe's own"
	case f.status >= 400:
		return "no error of Stripe's: check that the base URL is Stripe's and what proxy is between"
	}
	return "not what was asked for, so what happened isn't known"
}

// reason says why no answer came. Unless quote is set, only errors are quoted whose text holds addresses and numbers alone: that of a
// malformed answer quotes the answer.
func (g *Gateway) reason(err error, quote bool) string {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // leave out the URL
	}
	var (
		op   *net.OpError
		dns  *net.DNSError
		cert *tls.CertificateVerificationError
	)
	switch {
	case err == nil:
		return "for no known reason"
	case errors.Is(err, context.DeadlineExceeded):
		return "the time for the call ran out"
	case errors.Is(err, context.Canceled):
		return "the caller went away"
	case errors.As(err, &dns):
		return g.scrub.message(dns.Error())
	case errors.As(err, &op):
		return g.scrub.message(op.Error())
	case errors.As(err, &cert):
		return g.scrub.message(cert.Error() + ": check the base URL, the machine's clock and its certificates")
	case quote:
		return g.scrub.message(err.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed"
	case errors.Is(err, errNoResponse):
		return errNoResponse.Error()
	}
	return "the connection broke or what came back was no HTTP"
}
