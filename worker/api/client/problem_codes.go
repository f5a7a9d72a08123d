package client

import (
	"github.com/holdd/holdd/worker/hold"
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
