package api

import (
	"maps"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Problems that several operations share.
var (
	bodyProblems = []hold.ProblemCode{InvalidJSON, BodyRequired, BodyTooLarge, UnsupportedMediaType,
		UnknownField, InvalidType}
	parameterProblems = []hold.ProblemCode{InvalidParameter, UnknownParameter}
	changeProblems    = []hold.ProblemCode{hold.InvalidID, InvalidIfMatch, hold.HoldNotFound,
		hold.TooLate,
		hold.AlreadyCaptured, hold.AlreadyCanceled, hold.AlreadyExpired,
		hold.CancelAccepted, hold.RevisionMismatch}
	termProblems = []hold.ProblemCode{hold.InvalidAmount, hold.AmountTooLarge, hold.InvalidTime,
		hold.UnknownTimeZone, hold.InThePast, hold.AfterDeadline, hold.ConflictingTimes,
		hold.InvalidPolicy, hold.InvalidReference, hold.InvalidMetadata, hold.NotRenewable,
		hold.MulticaptureUnavailable, hold.ConflictingTerms}
	confirmProblems       = []hold.ProblemCode{hold.WouldCancelNow, hold.WouldCaptureNow}
	authorizationProblems = []hold.ProblemCode{hold.InvalidIdempotencyKey, hold.InvalidField,
		hold.InvalidID, hold.CardDeclined, hold.IdempotencyKeyReused, hold.InProgress,
		hold.AuthorizationAbandoned, hold.AlreadyCaptured, hold.AuthorizationRefused,
		hold.OutcomeUnknown}
)

// appendProblemCodes joins lists of codes, and single codes after them.
func appendProblemCodes(lists [][]hold.ProblemCode, codes ...hold.ProblemCode) []hold.ProblemCode {
	return slices.Concat(slices.Concat(lists...), codes)
}

// operationDocs returns the documentation of every operation by its id.
func operationDocs() map[string]operationDoc {
	all := map[string]operationDoc{}
	for _, docs := range []map[string]operationDoc{holdDocs(), changeDocs(), authorizationDocs(),
		reconcileDocs(), deliveryDocs(), processDocs()} {
		maps.Copy(all, docs)
	}
	return all
}

func holdDocs() map[string]operationDoc {
	h, withHistory := exampleHold(), exampleHold()
	withHistory.History = []hold.HistoryEntryView{{At: h.CreatedAt, Kind: "scheduled", By: "api"}}
	req := hold.ScheduleRequest{PaymentIntent: h.ID, Reference: "BK-2071",
		CaptureAt: "2026-12-01T11:00", TimeZone: "Europe/Paris",
		Metadata: map[string]string{"room": "12"}}
	invalid := hold.ScheduleRequest{PaymentIntent: "pi_3PxYzA2eZvKYlo2C1gQmT0aC",
		CaptureAt: "2026-12-01"}
	_, invalidErr := invalid.Validate(h.CreatedAt)
	invalidProblem, _ := problemFromError(invalidErr)
	return map[string]operationDoc{
		"scheduleHold": {body: req, bodyRequired: true, response: h,
			otherStatuses: map[int]string{200: "The same request was accepted before"},
			problems: appendProblemCodes([][]hold.ProblemCode{bodyProblems, termProblems,
				confirmProblems},
				hold.InvalidID, hold.InvalidCurrency, hold.CurrencyMismatch, hold.AmountMismatch,
				hold.NotCapturable, hold.IntentNotFound, hold.HoldExists, hold.InvalidField)},
		"scheduleHolds": {
			body:         batchRequest{Holds: []hold.ScheduleRequest{req, invalid}},
			bodyRequired: true,
			response: BatchResponse{Results: []BatchResult{
				{Status: 201, Hold: &h}, {Status: 422, Problem: invalidProblem}}},
			problems: appendProblemCodes([][]hold.ProblemCode{bodyProblems}, InvalidBatch)},
		"getHold": {response: withHistory,
			problems: []hold.ProblemCode{hold.InvalidID, hold.HoldNotFound, AmbiguousReference}},
		"listHolds": {
			response: ListPage{Holds: []hold.View{h}, Next: "eyJ2IjoxfQ", Now: h.CreatedAt},
			problems: appendProblemCodes([][]hold.ProblemCode{parameterProblems}, hold.InvalidID,
				hold.InvalidCursor)},
		"getPlan": {response: examplePlan(&h), problems: parameterProblems},
	}
}

func changeDocs() map[string]operationDoc {
	h := exampleHold()
	at, amount := "2026-12-02T11:00:00+01:00", int64(9900)
	return map[string]operationDoc{
		"changeHold": {
			body: hold.Patch{CaptureAt: &at, CaptureAmount: &amount}, bodyRequired: true,
			response: h,
			problems: appendProblemCodes([][]hold.ProblemCode{bodyProblems, changeProblems,
				termProblems,
				confirmProblems}, hold.NothingToChange, hold.InvalidField, hold.CapturesPlanned)},
		"captureHold": {body: hold.CaptureRequest{Amount: 12500}, response: h,
			problems: appendProblemCodes([][]hold.ProblemCode{bodyProblems, changeProblems},
				hold.InvalidAmount, hold.AmountTooLarge, hold.InvalidField, hold.InvalidMetadata,
				hold.HoldPaused, hold.InvalidIdempotencyKey, hold.AfterDeadline,
				hold.MulticaptureUnavailable, hold.CapturesPlanned, hold.ConflictingTerms,
				hold.AmountAlreadyCaptured)},
		"cancelHold": {body: cancelRequest{CancellationReason: hold.ReasonDuplicate}, response: h,
			problems: appendProblemCodes([][]hold.ProblemCode{bodyProblems, changeProblems},
				hold.InvalidField)},
		"incrementHold": {
			body:         hold.IncrementRequest{Amount: 15000, Reason: "one more night"},
			bodyRequired: true, response: h,
			otherStatuses: map[int]string{202: "The outcome is not known yet"},
			problems: appendProblemCodes([][]hold.ProblemCode{bodyProblems, changeProblems},
				hold.InvalidAmount, hold.AmountTooLarge, hold.InvalidField, hold.AfterDeadline,
				hold.Declined, hold.IncrementUnavailable)},
		"pauseHold": {body: pauseResumeRequest{}, response: h,
			problems: appendProblemCodes([][]hold.ProblemCode{bodyProblems, changeProblems,
				confirmProblems},
				hold.AlreadyPaused)},
		"resumeHold": {body: pauseResumeRequest{}, response: h,
			problems: appendProblemCodes([][]hold.ProblemCode{bodyProblems, changeProblems,
				confirmProblems},
				hold.NotPaused)},
		"linkCardholder": {response: CardholderLink{URL: exampleLink, ExpiresAt: h.ExpiresAt, ActionNeeded: "authentication"},
			problems: []hold.ProblemCode{hold.InvalidID, hold.HoldNotFound, hold.NoActionRequired,
				CardholderLinksDisabled, hold.AfterDeadline, hold.AlreadyCaptured,
				hold.AlreadyCanceled, hold.AlreadyExpired}},
		"acknowledgeHold": {response: h,
			problems: appendProblemCodes([][]hold.ProblemCode{changeProblems})},
		"erasePersonalData": {response: exampleErasedHold(),
			problems: []hold.ProblemCode{hold.InvalidID, hold.HoldNotFound, hold.NotSettled,
				hold.EventsUndelivered}},
		"repairHold": {body: RepairRequest{}, response: exampleRepair(&h),
			problems: appendProblemCodes([][]hold.ProblemCode{bodyProblems}, hold.InvalidID,
				hold.HoldNotFound, hold.IntentNotFound, hold.RecordReadable,
				hold.RecordOfLaterRelease)},
	}
}

func exampleErasedHold() hold.View {
	h := exampleHold()
	h.State, h.CapturedAmount, h.Next, h.NextAt = "captured", h.Amount, "", nil
	settled := *h.CaptureAt
	h.SettledAt, h.Reference, h.Metadata = &settled, "", nil
	return h
}

func exampleRepair(h *hold.View) RepairResult {
	return RepairResult{Hold: h, Quarantined: QuarantinedRecord{At: h.CreatedAt, By: "cli",
		Size: 4, Record: []byte("\x00\x01\x02\x03")}}
}

func authorizationDocs() map[string]operationDoc {
	h := exampleHold()
	authorized := Authorization{ID: h.ID, Status: "authorized", Hold: &h}
	otherStatuses := map[int]string{
		200: "It was authorized before",
		202: "The bank wants to authenticate the cardholder: confirm afterwards",
	}
	return map[string]operationDoc{
		"authorize": {body: exampleAuthorization, bodyRequired: true, response: authorized,
			otherStatuses: otherStatuses,
			problems: appendProblemCodes([][]hold.ProblemCode{bodyProblems, termProblems,
				authorizationProblems},
				hold.InvalidCurrency)},
		"confirmAuthorization": {body: hold.ConfirmRequest{}, response: authorized,
			otherStatuses: otherStatuses,
			problems: appendProblemCodes([][]hold.ProblemCode{bodyProblems, authorizationProblems},
				hold.AuthorizationNotFound)},
	}
}

func reconcileDocs() map[string]operationDoc {
	return map[string]operationDoc{
		"startReconcile": {body: reconcileRequest{DryRun: true}, response: exampleReconciliation(),
			otherStatuses: map[int]string{200: "A run was in progress: this one"},
			problems:      appendProblemCodes([][]hold.ProblemCode{bodyProblems}, hold.InvalidID)},
		"getReconcile": {response: exampleReconciliation(),
			problems: appendProblemCodes([][]hold.ProblemCode{parameterProblems},
				ReconcileRunNotFound)},
	}
}

func deliveryDocs() map[string]operationDoc {
	h := exampleHold()
	return map[string]operationDoc{
		"listDeliveries": {response: SinkList{Sinks: []SinkStatus{{Sink: "callback",
			FailingSince: &h.CreatedAt, Reason: "HTTP 502", OldestAt: &h.CreatedAt,
			DeadLetters: 1}}}},
		"listDeadLetters": {response: DeadLetterList{Sink: "callback", Total: 1,
			DeadLetters: []DeadLetter{{ID: "0:1795858200000-0",
				EventID: "evt_3PxYzA2eZvKYlo2C1gQmT0aB_1tmj0v3a10_1", Type: "hold.scheduled",
				Timestamp: h.CreatedAt, HoldID: h.ID, Reason: "HTTP 502"}}},
			problems: appendProblemCodes([][]hold.ProblemCode{parameterProblems}, SinkNotFound)},
		"replayDeadLetters": {body: replayRequest{Sink: "callback"},
			response: ReplayResult{Replayed: 1},
			problems: appendProblemCodes([][]hold.ProblemCode{bodyProblems}, SinkNotFound,
				InvalidParameter)},
	}
}

func processDocs() map[string]operationDoc {
	return map[string]operationDoc{
		"getReadiness": {
			response: Readiness{Ready: true, Checks: []ReadinessCheck{
				{Name: "redis", OK: true}}},
			otherStatuses: map[int]string{503: "Not ready: see the checks that are not ok"},
			noProblems:    true},
		"getHealth": {response: Health{Status: "ok", Version: "1.0.0"}, noProblems: true},
		"getLogLevel": {response: LogLevel{Level: "info", Configured: "info"},
			problems: []hold.ProblemCode{RouteNotFound}},
		"setLogLevel": {response: LogLevel{Level: "debug", Configured: "info"},
			problems: appendProblemCodes([][]hold.ProblemCode{parameterProblems}, RouteNotFound)},
	}
}

// exampleLink has no scheme: /docs has no link that leads elsewhere.
const exampleLink = "pay.hotel.example/cardholder/pi_3PxYzA2eZvKYlo2C1gQmT0aB.1.1796469000.…"

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

var exampleAuthorization = hold.AuthorizeRequest{PaymentMethod: "pm_1PxYzA2eZvKYlo2C",
	Amount: 12500, Currency: "eur", Reference: "BK-2071",
	CaptureAt: "2026-12-01T11:00", TimeZone: "Europe/Paris",
	Metadata: map[string]string{"room": "12"}}

func examplePlan(h *hold.View) Plan {
	capture, cancel := []CurrencyTotal{{Currency: "eur", Count: 2, Amount: 25000}},
		[]CurrencyTotal{}
	return Plan{From: h.CreatedAt, Until: h.CreatedAt.Add(24 * time.Hour),
		Hours: []PlanHour{{Start: h.CreatedAt.Truncate(time.Hour),
			Capture: capture, Cancel: cancel}},
		Capture: capture, Cancel: cancel,
		AtRisk: []AtRiskHold{{Hold: *h, Reason: "paused"}}}
}

func exampleReconciliation() Reconciliation {
	start := exampleHold().CreatedAt
	end := start.Add(41 * time.Second)
	return Reconciliation{ID: "rec_k3v7q2m5x6c4b2za", State: "finished", By: "schedule",
		Replica: "holdd-0-k3v7q2", StartedAt: start, UpdatedAt: end, FinishedAt: &end,
		Percent: 100, Accounts: 1, Listed: 1204, Compared: 1202,
		CountsByKind: map[string]int64{"orphan": 1, "captured": 1},
		Findings: []Finding{
			{Kind: "captured", PaymentIntent: "pi_3PxYzA2eZvKYlo2C1gQmT0aB", Reference: "BK-2071",
				Amount: 12500, Currency: "eur", Detail: "captured by another system"},
			{Kind: "orphan", PaymentIntent: "pi_3PxYzA2eZvKYlo2C1gQmT0aC", Amount: 8000,
				Currency: "eur", Detail: "no terms: left alone"},
		}}
}
