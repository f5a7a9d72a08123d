package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/hold"
)

const apiDescription = "A hold is a Stripe PaymentIntent in `requires_capture`. holdd captures or releases it at its time, once, and warns before it lapses. " +
	"Amounts are integers in minor units. Times are RFC 3339, or local with `time_zone`. " +
	"`ETag` is the hold's revision; send it as `If-Match` to change only what you have seen. " +
	"Errors are `application/problem+json` with a stable `code`. A request that got no answer may be sent again: the same wish is granted once."

// operationDoc tells what an operation takes and answers beyond what its Go
// types say.
type operationDoc struct {
	body          any // type and example of the request's body, nil: none
	bodyRequired  bool
	example       any            // of the answer
	otherStatuses map[int]string // further answers with the same body
	problems      []hold.Code    // one example for each; beside those that every operation has
}

// buildOpenAPI completes what huma made of the types, and writes it as JSON.
func buildOpenAPI(o *huma.OpenAPI, tokens bool) ([]byte, error) {
	reg := o.Components.Schemas
	body := []hold.Code{InvalidJSON, BodyRequired, BodyTooLarge, UnsupportedMediaType,
		UnknownField, InvalidType}
	change := []hold.Code{hold.InvalidID, InvalidIfMatch, hold.HoldNotFound, hold.TooLate,
		hold.AlreadyCaptured, hold.AlreadyCanceled, hold.AlreadyExpired,
		hold.CancelAccepted, hold.RevisionMismatch}
	terms := []hold.Code{hold.InvalidAmount, hold.AmountTooLarge, hold.InvalidTime,
		hold.UnknownTimeZone, hold.InThePast, hold.AfterDeadline, hold.ConflictingTimes,
		hold.InvalidPolicy, hold.InvalidReference, hold.InvalidMetadata}
	confirm := []hold.Code{hold.WouldCancelNow, hold.WouldCaptureNow}
	plain, full := exampleHold(), exampleHold()
	full.History = []hold.HistoryEntryView{{At: plain.CreatedAt, Kind: "scheduled", By: "api"}}
	req := hold.ScheduleRequest{PaymentIntent: plain.ID, Reference: "BK-2071",
		CaptureAt: "2026-12-01T11:00", TimeZone: "Europe/Paris",
		Metadata: map[string]string{"room": "12"}}
	at, amount := "2026-12-02T11:00:00+01:00", int64(9900)

	authorizing := []hold.Code{hold.InvalidIdempotencyKey, hold.InvalidField, hold.InvalidID,
		hold.CardDeclined, hold.IdempotencyKeyReused, hold.InProgress,
		hold.AuthorizationAbandoned, hold.AlreadyCaptured, hold.AuthorizationRefused,
		hold.OutcomeUnknown}

	ops := map[string]operationDoc{
		"scheduleHold": {body: req, bodyRequired: true, example: plain,
			otherStatuses: map[int]string{200: "The same was scheduled before"},
			problems: slices.Concat(body, terms, []hold.Code{hold.InvalidID, hold.InvalidCurrency,
				hold.CurrencyMismatch, hold.AmountMismatch, hold.NotCapturable, hold.IntentNotFound,
				hold.HoldExists}, confirm)},
		"scheduleHolds": {
			body: batchRequest{Holds: []hold.ScheduleRequest{
				req, {PaymentIntent: "pi_3PxYzA2eZvKYlo2C1gQmT0aC", CaptureAt: "2026-12-01"}}},
			bodyRequired: true,
			example: BatchResponse{Results: []BatchResult{{Status: 201, Hold: &plain},
				{Status: 422, Problem: newProblem(hold.InvalidTime, "capture_at",
					`invalid time "2026-12-01": want RFC 3339, such as 2026-12-01T11:00:00+01:00, or a local time with time_zone`)}}},
			problems: slices.Concat(body, []hold.Code{InvalidBatch})},
		"getHold": {example: full,
			problems: []hold.Code{hold.InvalidID, hold.HoldNotFound}},
		"changeHold": {body: hold.Patch{CaptureAt: &at, CaptureAmount: &amount},
			bodyRequired: true, example: plain, problems: slices.Concat(body, change, terms,
				confirm, []hold.Code{hold.NothingToChange})},
		"captureHold": {body: captureRequest{Amount: 12500}, example: plain,
			problems: slices.Concat(body, change, []hold.Code{hold.InvalidAmount,
				hold.AmountTooLarge, hold.HoldPaused})},
		"cancelHold": {example: plain, problems: change},
		"pauseHold": {body: confirmBody{}, example: plain, problems: slices.Concat(body,
			change, confirm, []hold.Code{hold.AlreadyPaused})},
		"resumeHold": {body: confirmBody{}, example: plain, problems: slices.Concat(body,
			change, confirm, []hold.Code{hold.NotPaused})},
		"acknowledgeHold": {example: plain, problems: slices.Concat(change,
			[]hold.Code{hold.NothingToAcknowledge})},
		"listHolds": {example: ListPage{Holds: []hold.View{plain}, Next: "eyJ2IjoxfQ",
			Now: plain.CreatedAt}, problems: []hold.Code{hold.InvalidID,
			InvalidParameter, UnknownParameter}},
		"plan": {example: Plan{From: plain.CreatedAt, Until: plain.CreatedAt.Add(24 * time.Hour),
			AtRisk: []Risk{{Hold: plain, Reason: "ends before its capture time"}},
			Hours: []PlanHour{{Start: plain.CreatedAt.Truncate(time.Hour), Capture: []CurrencyTotal{
				{Currency: "eur", Count: 2, Amount: 25000}}, Cancel: []CurrencyTotal{}}}},
			problems: []hold.Code{InvalidParameter, UnknownParameter}},
		"reconcile": {body: reconcileRequest{DryRun: true}, example: exampleReconciliation(),
			otherStatuses: map[int]string{200: "One was under way: this is it"},
			problems:      slices.Concat(body, []hold.Code{hold.InvalidID})},
		"getReconcile": {example: exampleReconciliation(),
			problems: []hold.Code{ReconcileRunNotFound, InvalidParameter, UnknownParameter}},
		"listDeliveries": {
			example: SinkList{Sinks: []SinkStatus{{Sink: "callback", FailingSince: &plain.CreatedAt,
				Reason: "HTTP 502", OldestAt: &plain.CreatedAt, DeadLetters: 1}}}},
		"listDeadLetters": {example: DeadLetterList{Sink: "callback", Total: 1,
			DeadLetters: []DeadLetter{
				{ID: "0:1795858200000-0", EventID: "evt_3PxYzA2eZvKYlo2C1gQmT0aB_1tmj0v3a10_1",
					Type:      "hold.scheduled",
					Timestamp: plain.CreatedAt, HoldID: plain.ID, Reason: "HTTP 502"}}},
			problems: []hold.Code{SinkNotFound, InvalidParameter, UnknownParameter}},
		"replayDeadLetters": {body: replayRequest{Sink: "callback"},
			example: ReplayResult{Replayed: 1}, problems: slices.Concat(body,
				[]hold.Code{SinkNotFound, InvalidParameter})},
		"authorize": {body: exampleAuthorization, bodyRequired: true,
			example: Authorization{ID: plain.ID, Status: "authorized", Hold: &plain},
			otherStatuses: map[int]string{200: "It was authorized before",
				202: "The guest's bank wants the guest: confirm afterwards"},
			problems: slices.Concat(body, terms, authorizing,
				[]hold.Code{hold.InvalidCurrency})},
		"confirmAuthorization": {body: hold.ConfirmRequest{}, example: Authorization{ID: plain.ID,
			Status: "authorized", Hold: &plain},
			otherStatuses: map[int]string{200: "It was authorized before",
				202: "The guest's bank wants the guest: confirm afterwards"},
			problems: slices.Concat(body, authorizing,
				[]hold.Code{hold.AuthorizationNotFound})},
		"ready": {example: Readiness{Ready: true, Checks: []ReadinessCheck{
			{Name: "redis", OK: true}}}, otherStatuses: map[int]string{
			503: "Not ready: the checks that are not ok tell why"}},
		"alive": {example: Health{Status: "ok", Version: "1.0.0"}},
		"logLevel": {example: LogLevel{Level: "info", Configured: "info"},
			problems: []hold.Code{RouteNotFound}},
		"setLogLevel": {example: LogLevel{Level: "debug", Configured: "info"},
			problems: []hold.Code{InvalidParameter, UnknownParameter, RouteNotFound}},
	}
	problem := reg.Schema(reflect.TypeFor[Problem](), true, "Problem")
	for _, item := range o.Paths {
		for _, op := range operationsOf(item) {
			s, ok := ops[op.OperationID]
			if !ok {
				return nil, fmt.Errorf("operation %s has no example", op.OperationID)
			}
			if err := s.fillOperation(op, reg, problem); err != nil {
				return nil, err
			}
			delete(ops, op.OperationID)
		}
	}
	if len(ops) > 0 {
		return nil, fmt.Errorf("examples without operations: %v", slices.Collect(maps.Keys(ops)))
	}
	for _, other := range [][3]string{{"/metrics", "metrics", "Prometheus metrics"},
		{"/openapi.json", "openapi", "This document"},
		{"/docs", "docs", "This document, for people"}} {
		kind := map[string]string{"/metrics": "text/plain", "/openapi.json": "application/json",
			"/docs": "text/html"}[other[0]]
		o.AddOperation(&huma.Operation{OperationID: other[1], Method: http.MethodGet,
			Path: other[0], Summary: other[2], Tags: []string{"process"},
			Responses: map[string]*huma.Response{
				"200": {Description: "OK", Content: map[string]*huma.MediaType{kind: {}}}}})
	}

	// Answers may gain fields; what is sent may not have others than these.
	requestSchemas := []string{"ScheduleRequest", "ScheduleRequests", "Patch", "Capture", "Confirm",
		"Reconcile", "Replay", "AuthorizeRequest", "ConfirmRequest"}
	for name, s := range reg.Map() {
		if !slices.Contains(requestSchemas, name) {
			s.AdditionalProperties = nil
		}
	}
	delete(reg.Map(), "ErrorModel") // huma's own shape of errors never leaves this API
	delete(reg.Map(), "ErrorDetail")
	if tokens {
		o.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
			"token": {Type: "http", Scheme: "bearer",
				Description: "A token of the tokens file. One with the role read may only GET"}}
		o.Security = []map[string][]string{{"token": {}}}
	}
	return json.Marshal(o)
}

// dropResponses drops what the document says of answers once it is written.
// Nothing is checked by it, and it would stay: half a megabyte.
func dropResponses(o *huma.OpenAPI) {
	for _, item := range o.Paths {
		for _, op := range operationsOf(item) {
			op.Responses = nil
		}
	}
}

func (s operationDoc) fillOperation(
	op *huma.Operation, reg huma.Registry, problem *huma.Schema,
) error {
	if s.body != nil {
		example, err := toJSONValue(s.body)
		if err != nil {
			return err
		}
		op.RequestBody = &huma.RequestBody{Required: s.bodyRequired,
			Content: map[string]*huma.MediaType{
				"application/json": {Schema: reg.Schema(reflect.TypeOf(s.body), true, ""),
					Example: example}}}
	}
	example, err := toJSONValue(s.example)
	if err != nil {
		return err
	}
	delete(op.Responses, "default")
	good := op.Responses[strconv.Itoa(op.DefaultStatus)]
	good.Content["application/json"].Example = example
	for status, description := range s.otherStatuses {
		other := *good
		other.Description = description
		op.Responses[strconv.Itoa(status)] = &other
	}
	if op.OperationID == "alive" || op.OperationID == "ready" {
		return nil
	}
	byStatus := map[int][]hold.Code{}
	for _, code := range slices.Concat(s.problems, []hold.Code{TokenRequired, TokenInvalid,
		TokenReadOnly, HostNotAllowed, CrossOriginRefused, InternalError, Unavailable}) {
		if op.Method == http.MethodGet && (code == TokenReadOnly || code == CrossOriginRefused) {
			continue
		}
		k := problemKindByCode[code]
		byStatus[k.status] = append(byStatus[k.status], code)
	}
	for status, codes := range byStatus {
		examples, names := map[string]*huma.Example{}, make([]string, 0, len(codes))
		for _, code := range codes {
			names = append(names, "`"+string(code)+"`")
			value, err := toJSONValue(newProblem(code, "", problemKindByCode[code].title))
			if err != nil {
				return err
			}
			examples[string(code)] = &huma.Example{Summary: problemKindByCode[code].title,
				Value: value}
		}
		op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status) +
			": " + strings.Join(names, ", "),
			Content: map[string]*huma.MediaType{"application/problem+json": {
				Schema: problem, Examples: examples}}}
	}
	return nil
}

// operationsOf lists what a path knows.
func operationsOf(p *huma.PathItem) []*huma.Operation {
	var out []*huma.Operation
	for _, op := range []*huma.Operation{p.Get, p.Post, p.Put, p.Patch} {
		if op != nil {
			out = append(out, op)
		}
	}
	return out
}

// toJSONValue turns a Go value into what its JSON says, so that examples are
// shown as they travel.
func toJSONValue(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	err = json.Unmarshal(b, &out)
	return out, err
}

var exampleAuthorization = hold.AuthorizeRequest{PaymentMethod: "pm_1PxYzA2eZvKYlo2C",
	Amount: 12500, Currency: "eur", Reference: "BK-2071",
	CaptureAt: "2026-12-01T11:00", TimeZone: "Europe/Paris",
	Metadata: map[string]string{"room": "12"}}

func exampleHold() hold.View {
	created := time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC)
	capture := time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)
	return hold.View{
		ID: "pi_3PxYzA2eZvKYlo2C1gQmT0aB", PaymentIntent: "pi_3PxYzA2eZvKYlo2C1gQmT0aB",
		Reference: "BK-2071", Amount: 12500, Currency: "eur",
		CaptureAt: &capture, ExpiresAt: created.Add(7 * 24 * time.Hour),
		ExpiresAtSource: "capture_before", OnExpiry: "cancel", State: "scheduled",
		Next: "capture", NextAt: &capture, Cause: "schedule", Revision: 1, Verified: true,
		CreatedAt: created, Metadata: map[string]string{"room": "12"},
	}
}
