package api

import "github.com/holdd/holdd/worker/api/client"

// Requests, responses and problems. Package client declares them, so that a
// caller needs nothing else of holdd.
type (
	BatchResult        = client.BatchResult
	BatchResponse      = client.BatchResponse
	batchRequest       = client.BatchRequest
	ListPage           = client.ListPage
	cancelRequest      = client.CancelRequest
	pauseResumeRequest = client.PauseResumeRequest
	CardholderLink     = client.CardholderLink
	Authorization      = client.Authorization
	NextAction         = client.NextAction
	Plan               = client.Plan
	PlanHour           = client.PlanHour
	CurrencyTotal      = client.CurrencyTotal
	AtRiskHold         = client.AtRiskHold
	Reconciliation     = client.Reconciliation
	Finding            = client.Finding
	reconcileRequest   = client.ReconcileRequest
	SinkStatus         = client.SinkStatus
	SinkList           = client.SinkList
	DeadLetter         = client.DeadLetter
	DeadLetterList     = client.DeadLetterList
	ReplayResult       = client.ReplayResult
	replayRequest      = client.ReplayRequest
	Readiness          = client.Readiness
	ReadinessCheck     = client.ReadinessCheck
	Health             = client.Health
	LogLevel           = client.LogLevel
	RepairRequest      = client.RepairRequest
	RepairResult       = client.RepairResult
	QuarantinedRecord  = client.QuarantinedRecord
	Problem            = client.Problem
	FieldError         = client.FieldError
)

// Codes of problems, beside those of package hold.
const (
	InvalidJSON             = client.InvalidJSON
	InvalidType             = client.InvalidType
	UnknownField            = client.UnknownField
	InvalidParameter        = client.InvalidParameter
	UnknownParameter        = client.UnknownParameter
	InvalidIfMatch          = client.InvalidIfMatch
	InvalidBatch            = client.InvalidBatch
	BodyRequired            = client.BodyRequired
	BodyTooLarge            = client.BodyTooLarge
	BodyTimeout             = client.BodyTimeout
	UnsupportedMediaType    = client.UnsupportedMediaType
	RouteNotFound           = client.RouteNotFound
	MethodNotAllowed        = client.MethodNotAllowed
	TokenRequired           = client.TokenRequired
	TokenInvalid            = client.TokenInvalid
	TokenReadOnly           = client.TokenReadOnly
	HostNotAllowed          = client.HostNotAllowed
	CrossOriginRefused      = client.CrossOriginRefused
	Unavailable             = client.Unavailable
	StorageFull             = client.StorageFull
	InternalError           = client.InternalError
	AmbiguousReference      = client.AmbiguousReference
	ReconcileRunNotFound    = client.ReconcileRunNotFound
	SinkNotFound            = client.SinkNotFound
	InvalidSignature        = client.InvalidSignature
	CardholderLinksDisabled = client.CardholderLinksDisabled
	UnexpectedResponse      = client.UnexpectedResponse
)

// Limits of one request that callers know.
const (
	MaxBatchHolds = client.MaxBatchHolds
	MaxPageSize   = client.MaxPageSize
)

// The client, for code of holdd that has this package already.
type (
	Client           = client.Client
	ListQuery        = client.ListQuery
	UnreachableError = client.UnreachableError
)

// NewClient is [client.New].
func NewClient(address, token string) (*Client, error) { return client.New(address, token) }
