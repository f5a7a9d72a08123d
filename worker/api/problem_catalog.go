package api

import (
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
)

// Codes of problems, beside those of package hold. They are stable: callers
// branch on them.
const (
	InvalidJSON          hold.ProblemCode = "invalid_json"
	InvalidType          hold.ProblemCode = "invalid_type"
	UnknownField         hold.ProblemCode = "unknown_field"
	InvalidParameter     hold.ProblemCode = "invalid_parameter"
	UnknownParameter     hold.ProblemCode = "unknown_parameter"
	InvalidIfMatch       hold.ProblemCode = "invalid_if_match"
	InvalidBatch         hold.ProblemCode = "invalid_batch"
	BodyRequired         hold.ProblemCode = "body_required"
	BodyTooLarge         hold.ProblemCode = "body_too_large"
	BodyTimeout          hold.ProblemCode = "body_timeout"
	UnsupportedMediaType hold.ProblemCode = "unsupported_media_type"
	RouteNotFound        hold.ProblemCode = "route_not_found"
	MethodNotAllowed     hold.ProblemCode = "method_not_allowed"
	TokenRequired        hold.ProblemCode = "token_required"
	TokenInvalid         hold.ProblemCode = "token_invalid"
	TokenReadOnly        hold.ProblemCode = "token_read_only"
	HostNotAllowed       hold.ProblemCode = "host_not_allowed"
	CrossOriginRefused   hold.ProblemCode = "cross_origin_refused"
	Unavailable          hold.ProblemCode = "unavailable"
	StorageFull          hold.ProblemCode = "storage_full"
	InternalError        hold.ProblemCode = "internal_error"
	AmbiguousReference   hold.ProblemCode = "ambiguous_reference"
	ReconcileRunNotFound hold.ProblemCode = "reconcile_run_not_found"
	SinkNotFound         hold.ProblemCode = "sink_not_found"
	InvalidSignature     hold.ProblemCode = "invalid_signature" // of a webhook
	// CardholderLinksDisabled says that public_url is not set.
	CardholderLinksDisabled hold.ProblemCode = "cardholder_links_disabled"
	// UnexpectedResponse is the client's: the server does not answer as holdd.
	UnexpectedResponse hold.ProblemCode = "unexpected_response"
)

// problemStatusAndTitle is the status and title of all problems with one code.
type problemStatusAndTitle struct {
	code   hold.ProblemCode
	status int
	title  string
}

// problemCatalog lists every problem that the server sends, for /docs.
var problemCatalog = []problemStatusAndTitle{
	{InvalidJSON, 400, "The body is not valid JSON"},
	{BodyRequired, 400, "The request needs a JSON body"},
	{InvalidIfMatch, 400, "If-Match is not a single quoted revision"},
	{InvalidSignature, 400, "The webhook has no valid signature"},
	{intake.WrongMode, 400, "The event is of the other mode, live or test"},
	{hold.InvalidIdempotencyKey, 400, "The Idempotency-Key is missing or invalid"},
	{TokenRequired, 401, "The request needs a token"},
	{TokenInvalid, 401, "The token is unknown"},
	{hold.CardDeclined, 402, "The card was declined"},
	{TokenReadOnly, 403, "The token allows only reads"},
	{HostNotAllowed, 403, "Without tokens only this machine is served"},
	{CrossOriginRefused, 403, "Cross-origin requests from web pages are rejected"},
	{RouteNotFound, 404, "The route does not exist"},
	{hold.AuthorizationNotFound, 404, "The authorization does not exist"},
	{hold.HoldNotFound, 404, "The hold does not exist"},
	{hold.IntentNotFound, 404, "The PaymentIntent does not exist at Stripe"},
	{ReconcileRunNotFound, 404, "The reconcile run does not exist"},
	{SinkNotFound, 404, "The sink does not exist"},
	{MethodNotAllowed, 405, "The route does not support this method"},
	{BodyTimeout, 408, "The body did not arrive in time"},
	{hold.HoldExists, 409, "The hold is scheduled with other terms"},
	{AmbiguousReference, 409, "Several holds have the reference"},
	{hold.IdempotencyKeyReused, 409, "The Idempotency-Key was used for another request"},
	{hold.InProgress, 409, "The same request is in progress"},
	{hold.AuthorizationAbandoned, 409, "The authorization was not confirmed in time"},
	{hold.Declined, 409, "The bank declined"},
	{hold.TooLate, 409, "The worker is acting on the hold"},
	{hold.AlreadyCaptured, 409, "The hold is already captured"},
	{hold.AlreadyCanceled, 409, "The hold is already canceled"},
	{hold.AlreadyExpired, 409, "The hold is already expired"},
	{hold.AlreadyPaused, 409, "The hold is already paused"},
	{hold.NotPaused, 409, "The hold is not paused"},
	{hold.HoldPaused, 409, "The hold is paused"},
	{hold.CapturesPlanned, 409, "The hold has planned captures"},
	{hold.AmountAlreadyCaptured, 409, "The amount is captured already"},
	{hold.CancelAccepted, 409, "The hold is being canceled"},
	{hold.NotSettled, 409, "The hold has not ended"},
	{hold.EventsUndelivered, 409, "Events of the hold wait for a receiver"},
	{hold.RecordReadable, 409, "The hold's record is readable"},
	{hold.RecordOfLaterRelease, 409, "A later release wrote the hold's record"},
	{hold.NothingToAcknowledge, 409, "The hold has no warning to acknowledge"},
	{hold.NoActionRequired, 409, "The renewal does not require the cardholder"},
	{CardholderLinksDisabled, 409, "There is no page for cardholders"},
	{hold.RevisionMismatch, 412, "The hold has changed since it was read"},
	{BodyTooLarge, 413, "The body is too large"},
	{UnsupportedMediaType, 415, "The body is not application/json"},
	{InvalidType, 422, "A field has the wrong type"},
	{UnknownField, 422, "The body has an unknown field"},
	{InvalidParameter, 422, "A parameter is invalid"},
	{UnknownParameter, 422, "The query has an unknown parameter"},
	{InvalidBatch, 422, "The batch is empty or too long"},
	{hold.InvalidCursor, 422, "The cursor is invalid"},
	{hold.InvalidID, 422, "The id is invalid"},
	{hold.InvalidField, 422, "A field is invalid"},
	{hold.AuthorizationRefused, 422, "Stripe rejected the authorization"},
	{hold.InvalidAmount, 422, "The amount is invalid"},
	{hold.AmountTooLarge, 422, "The amount is larger than the hold"},
	{hold.IncrementUnavailable, 422, "The authorization cannot be raised"},
	{hold.NotRenewable, 422, "The authorization cannot be renewed"},
	{hold.MulticaptureUnavailable, 422, "The authorization cannot be captured in parts"},
	{hold.ConflictingTerms, 422, "Two terms exclude each other"},
	{hold.InvalidCurrency, 422, "The currency is invalid"},
	{hold.CurrencyMismatch, 422, "The currency differs from the PaymentIntent's"},
	{hold.AmountMismatch, 422, "The amount differs from the PaymentIntent's"},
	{hold.InvalidTime, 422, "The time is invalid"},
	{hold.UnknownTimeZone, 422, "The time zone is unknown"},
	{hold.InThePast, 422, "The time is in the past"},
	{hold.AfterDeadline, 422, "The time is after the authorization's deadline"},
	{hold.WouldCancelNow, 422, "on_expiry would release the money at once"},
	{hold.WouldCaptureNow, 422, "on_expiry would capture the money at once"},
	{hold.ConflictingTimes, 422, "capture_at and cancel_at exclude each other"},
	{hold.InvalidPolicy, 422, "The on_expiry policy is unknown"},
	{hold.InvalidReference, 422, "The reference is invalid"},
	{hold.InvalidMetadata, 422, "The metadata is invalid"},
	{hold.NotCapturable, 422, "The PaymentIntent holds no money"},
	{hold.NothingToChange, 422, "The request changes nothing"},
	{InternalError, 500, "Internal error"},
	{hold.RecordUnreadable, 500, "The hold's record is unreadable"},
	{Unavailable, 503, "Temporarily unavailable"},
	{hold.OutcomeUnknown, 503, "The outcome of the authorization is not known yet"},
	{StorageFull, 507, "Redis has no memory for new holds"},
}

var problemKindByCode = func() map[hold.ProblemCode]problemStatusAndTitle {
	m := make(map[hold.ProblemCode]problemStatusAndTitle, len(problemCatalog))
	for _, k := range problemCatalog {
		m[k.code] = k
	}
	return m
}()
