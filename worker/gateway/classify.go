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

// classifyFailure classifies every response but the expected 200. It never uses
// the text of an error of stripe-go, which may contain client secrets and parts
// of the body.
func classifyFailure(
	t *callTrace, err error, r classifyOptions, s *secretScrubber,
) hold.Answer {
	a := t.newAnswer(0)
	var se *stripe.Error
	switch {
	case t.status == 0 && !t.mayHaveBeenSent():
		a.Kind = hold.AnswerUnreachable
		a.Message = "nothing was sent: " + describeSendError(s, err, true)
	case t.status == 0:
		a.Kind = hold.AnswerUnknown
		a.Message = "no answer: " + describeSendError(s, err, false)
	case errors.As(err, &se) && t.status >= 400 && se.Type != "":
		kind := classifyStripeError(t, se, r.mutation)
		a.RateLimited = kind == hold.AnswerRateLimited
		a.RateLimitScope = rateLimitScope(t.rateLimitedReason)
		a.Kind = applyShouldRetryHeader(t.shouldRetry, kind, r.mutation)
		if a.Kind == hold.AnswerUnknown && t.replayed && r.mutation {
			a.Kind = hold.AnswerReplayedError // the same key only repeats it
		}
		a.Code = declineOrErrorCode(s, se)
		if kind == hold.AnswerDeclined {
			a.Advice = declineAdviceOfError(s, se)
		}
		a.Message = s.redactMessage(se.Msg)
		a.Intent = convertIntent(s, se.PaymentIntent, r.intentID)
	case t.status == http.StatusTooManyRequests:
		// From Stripe's edge or a proxy, which rejected the request.
		a.Kind, a.Message = hold.AnswerRateLimited, "429 without a Stripe error: body "+t.mediaType
		a.RateLimited = true
	default:
		a.Kind = unknownOrReplayedErrorKind(t, r.mutation)
		body := t.mediaType + ": " + describeUnusableResponse(t, err)
		a.Message = formatHTTPStatus(t.status) + ", body " + body
	}
	return a
}

// rateLimitScope returns the scope of a 429 by its Stripe-Rate-Limited-Reason.
// A limit on concurrent requests is treated like one on their rate: at a lower
// rate fewer requests are in flight.
func rateLimitScope(reason string) hold.ExceededRateLimit {
	switch reason {
	case "global-rate", "global-concurrency":
		return hold.LimitOfAccount
	case "resource-specific":
		return hold.LimitOfObject
	}
	return hold.LimitOfEndpoint
}

// classifyStripeError classifies an error of Stripe's API. If the code and the
// status disagree, the more careful kind applies.
func classifyStripeError(t *callTrace, e *stripe.Error, mutation bool) hold.AnswerKind {
	if isInconclusiveStatus(t.status) {
		return unknownOrReplayedErrorKind(t, mutation)
	}
	kind := kindByErrorCode(e.Code)
	if kind == 0 {
		kind = kindByStatus(t.status, e.Type)
	}
	if kind == 0 {
		kind = kindByErrorType(e.Type)
	}
	if kind == 0 {
		kind = hold.AnswerInvalid
	}
	return kind
}

// applyShouldRetryHeader applies Stripe-Should-Retry, which overrides the kind
// of an error. With true a refusal is no outcome: the same request may succeed
// later. With false the same request never succeeds, so the intent is read
// before another one is sent. A read may always be repeated.
func applyShouldRetryHeader(
	shouldRetry string, kind hold.AnswerKind, mutation bool,
) hold.AnswerKind {
	switch kind {
	case hold.AnswerUnexpectedState, hold.AnswerChargeGone, hold.AnswerAmountTooLarge,
		hold.AnswerNotFound, hold.AnswerIdempotencyError, hold.AnswerDeclined,
		hold.AnswerUnauthorized, hold.AnswerForbidden, hold.AnswerInvalid:
		if shouldRetry == "true" {
			return hold.AnswerUnknown
		}
	case hold.AnswerLockTimeout, hold.AnswerRateLimited, hold.AnswerKeyInUse, hold.AnswerUnknown:
		if shouldRetry == "false" && mutation {
			return hold.AnswerReplayedError
		}
	}
	return kind
}

// kindByErrorCode returns the kind of an error code, 0 if the code has none.
func kindByErrorCode(code stripe.ErrorCode) hold.AnswerKind {
	switch code {
	case stripe.ErrorCodeIdempotencyKeyInUse: // its type is idempotency_error
		return hold.AnswerKeyInUse
	case stripe.ErrorCodeLockTimeout:
		return hold.AnswerLockTimeout
	case stripe.ErrorCodePaymentIntentUnexpectedState:
		return hold.AnswerUnexpectedState
	case stripe.ErrorCodeChargeAlreadyCaptured, stripe.ErrorCodeChargeExpiredForCapture,
		stripe.ErrorCodeCaptureChargeAuthorizationExpired,
		stripe.ErrorCodeCaptureUnauthorizedPayment:
		return hold.AnswerChargeGone
	case stripe.ErrorCodeAmountTooLarge:
		return hold.AnswerAmountTooLarge
	case stripe.ErrorCodeResourceMissing:
		return hold.AnswerNotFound
	}
	return 0
}

// kindByStatus returns the kind of an HTTP status, 0 if the status has none.
func kindByStatus(status int, errorType stripe.ErrorType) hold.AnswerKind {
	switch status {
	case http.StatusTooManyRequests:
		return hold.AnswerRateLimited
	case http.StatusUnauthorized:
		return hold.AnswerUnauthorized
	case http.StatusForbidden:
		return hold.AnswerForbidden
	case http.StatusConflict:
		if errorType == stripe.ErrorTypeIdempotency { // key in use, without a code
			return hold.AnswerKeyInUse
		}
		return hold.AnswerUnknown
	case http.StatusRequestTimeout, http.StatusTooEarly:
		return hold.AnswerUnknown // Stripe does not document the outcome of the request
	}
	return 0
}

// kindByErrorType returns the kind of an error type, 0 if the type has none.
func kindByErrorType(errorType stripe.ErrorType) hold.AnswerKind {
	switch errorType {
	case stripe.ErrorTypeIdempotency:
		return hold.AnswerIdempotencyError
	case stripe.ErrorTypeCard:
		return hold.AnswerDeclined
	}
	return 0
}

// isInconclusiveStatus reports whether a status says nothing about the effect
// of the request: 5xx, and 424, which reports a failure of a system that Stripe
// depends on.
func isInconclusiveStatus(status int) bool {
	return status >= http.StatusInternalServerError || status == http.StatusFailedDependency
}

// unknownOrReplayedErrorKind returns the kind of a response that says nothing about the
// effect of the request. It is unknown, unless a retry with this idempotency
// key is useless because Stripe replayed the error or says so.
func unknownOrReplayedErrorKind(t *callTrace, mutation bool) hold.AnswerKind {
	if mutation && isInconclusiveStatus(t.status) && (t.replayed || t.shouldRetry == "false") {
		return hold.AnswerReplayedError
	}
	return hold.AnswerUnknown
}

// declineOrErrorCode returns the decline code of an error, otherwise its code.
// It returns "" if neither is valid.
func declineOrErrorCode(s *secretScrubber, e *stripe.Error) string {
	declineCode := s.errorCodeOrEmpty(string(e.DeclineCode))
	return cmp.Or(declineCode, s.errorCodeOrEmpty(string(e.Code)))
}

// describeUnusableResponse returns a fixed text that says why a response cannot
// be used.
func describeUnusableResponse(t *callTrace, err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, errBodyTooLong):
		return errBodyTooLong.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "the call timed out before its end"
	case errors.Is(err, context.Canceled):
		return "the caller canceled before its end"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &op):
		return "the connection broke before its end"
	case t.status >= 300 && t.status < 400:
		return "a redirect, which is not followed: check that the base URL is Stripe's"
	case t.status >= 500:
		return "from a proxy or Stripe's edge, not an error of the API"
	case t.status >= 400:
		return "not an error of Stripe's API: check the base URL and the proxies in between"
	}
	return "not the requested object, so the outcome is unknown"
}

// describeSendError returns the reason why there is no response. Without quote,
// it quotes only errors that contain nothing but addresses and numbers, because
// the error about a malformed response quotes the response.
func describeSendError(s *secretScrubber, err error, quote bool) string {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // leaves out the URL
	}
	var (
		op   *net.OpError
		dns  *net.DNSError
		cert *tls.CertificateVerificationError
	)
	switch {
	case err == nil:
		return "the client returned no error"
	case errors.Is(err, context.DeadlineExceeded):
		return "the call timed out"
	case errors.Is(err, context.Canceled):
		return "the caller canceled"
	case errors.As(err, &dns):
		return s.redactMessage(dns.Error())
	case errors.As(err, &op):
		return s.redactMessage(op.Error())
	case errors.As(err, &cert):
		return s.redactMessage(cert.Error() +
			": check the base URL, this machine's clock and its certificates")
	case quote:
		return s.redactMessage(err.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed"
	case errors.Is(err, errNoResponse):
		return errNoResponse.Error()
	}
	return "the connection broke, or the response was not HTTP"
}
