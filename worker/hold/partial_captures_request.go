package hold

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CaptureStageRequest is a planned capture of a request.
type CaptureStageRequest struct {
	At     string `json:"at" doc:"When to capture. RFC 3339, or a local time with time_zone" example:"2026-12-01T11:00:00+01:00"`
	Amount int64  `json:"amount" doc:"What this capture takes, in minor units" example:"4500"`

	recovered bool // of an intent's metadata, accepted before
}

// parseCaptureStages checks planned captures. Those of metadata may have passed
// since they were accepted.
func parseCaptureStages(
	reqs []CaptureStageRequest, zone, currency string, now time.Time,
) (stages []CaptureStage, err error) {
	if len(reqs) > MaxCaptures {
		return nil, newProblem(InvalidField, "captures", "%d captures: Stripe accepts at most %d",
			len(reqs), MaxCaptures)
	}
	for i, q := range reqs {
		field := "captures." + strconv.Itoa(i)
		stage := CaptureStage{Amount: q.Amount}
		if q.recovered {
			stage.At, err = ParseTime(field+".at", q.At, zone)
		} else {
			stage.At, err = parseActionTime(field+".at", q.At, zone, now)
		}
		switch {
		case err != nil:
			return nil, err
		case stage.At.IsZero():
			return nil, newProblem(InvalidTime, field+".at",
				"missing time: want RFC 3339, such as 2026-12-01T11:00:00+01:00")
		case i > 0 && !stage.At.After(stages[i-1].At):
			return nil, newProblem(InvalidTime, field+".at",
				"%s must be after the capture before it, at %s", q.At,
				stages[i-1].At.Format(time.RFC3339))
		case q.Amount == 0:
			return nil, newProblem(InvalidAmount, field+".amount",
				"invalid amount 0: want minor units, such as 1250 for 12.50")
		}
		if err := checkAmount(field+".amount", q.Amount, currency); err != nil {
			return nil, err
		}
		stages = append(stages, stage)
	}
	return stages, nil
}

// parseCaptureStages checks the planned captures of a request, which take the
// place of other terms.
func (req *ScheduleRequest) parseCaptureStages(
	currency string, now time.Time,
) ([]CaptureStage, error) {
	if len(req.Captures) == 0 {
		return nil, nil
	}
	switch {
	case req.CaptureAt != "" || req.CancelAt != "":
		return nil, newProblem(ConflictingTimes, "captures",
			"captures have times of their own: send no capture_at and no cancel_at")
	case req.CaptureAmount != 0:
		return nil, newProblem(ConflictingTerms, "captures",
			"captures have amounts of their own: send no capture_amount")
	case req.Renewal != nil:
		return nil, newProblem(ConflictingTerms, "captures", "a hold is renewed or captured in "+
			"parts, not both: send captures or renewal")
	}
	stages, err := parseCaptureStages(req.Captures, req.TimeZone, currency, now)
	if err != nil {
		return nil, err
	}
	if sum := sumOfCaptureStages(stages); req.Amount > 0 && sum > req.Amount {
		return nil, captureStagesExceedAmountProblem(sum, req.Amount, currency)
	}
	return stages, nil
}

func sumOfCaptureStages(stages []CaptureStage) (sum int64) {
	for _, stage := range stages {
		sum += stage.Amount
	}
	return sum
}

func captureStagesExceedAmountProblem(sum, held int64, currency string) *Problem {
	return newProblem(AmountTooLarge, "captures", "the captures take %s in all, and %s is held",
		FormatAmount(sum, currency), FormatAmount(held, currency))
}

// setCapturePlan makes stages the captures of h. base is what was captured before them.
func setCapturePlan(h *Hold, stages []CaptureStage, base int64) {
	s := unsharePartialCaptures(h)
	s.Plan, s.Base, s.Done, s.Part = stages, base, 0, 0
	h.CaptureAt, h.CancelAt = stages[0].At, time.Time{}
	h.CaptureAmount = base + sumOfCaptureStages(stages)
}

// clearCapturePlan ends the planned captures of h.
func clearCapturePlan(h *Hold) {
	if len(PlannedCaptureStages(h)) == 0 {
		return
	}
	s := unsharePartialCaptures(h)
	s.Plan, s.Base, s.Done = nil, 0, 0
	h.CaptureAt, h.CaptureAmount = time.Time{}, 0
	if s.Count == 0 && s.Part == 0 && len(s.Requests) == 0 {
		h.PartialCaptures = nil
	}
}

// checkPlannedCaptureStages compares the plan of h with what Stripe holds, as far as that is
// known. Errors are *[Problem].
func checkPlannedCaptureStages(h *Hold) error {
	s := h.PartialCaptures
	if s == nil || len(s.Plan) == 0 {
		return nil
	}
	if open := len(s.Plan) - int(s.Done); int(s.Count)+open > MaxCaptures {
		return newProblem(InvalidField, "captures", "%d captures after %d: Stripe accepts at most %d",
			open, s.Count, MaxCaptures)
	}
	if sum := sumOfCaptureStages(s.Plan); h.Amount > 0 && s.Base+sum > AuthorizedTotal(h) {
		return captureStagesExceedAmountProblem(sum, AuthorizedTotal(h)-s.Base, h.Currency)
	}
	return checkMulticaptureIfNeeded(h)
}

// setAndCheckCapturePlan sets the planned captures of a new hold, and compares what the hold
// is to take with what it holds. They go on where Stripe shows that the captures
// ended: the request may repeat one that Redis has lost. Errors are *[Problem].
func setAndCheckCapturePlan(h *Hold, valid *ValidRequest, in *PaymentIntent) error {
	if len(valid.Captures) == 0 {
		return checkHoldCaptureAmount(h)
	}
	base := valid.CapturesFrom
	if !valid.FromMetadata {
		base = capturedBeforePlan(h, valid.Captures, in)
	}
	setCapturePlan(h, valid.Captures, base)
	for s := h.PartialCaptures; hasNonFinalCaptureStageLeft(h) &&
		captureStageTotal(s, s.Done) <= capturedSoFar(h); {
		advanceToNextCaptureStage(h)
		s = h.PartialCaptures
	}
	if !valid.FromMetadata {
		return checkPlannedCaptureStages(h)
	}
	return checkHoldCaptureAmount(h)
}

// capturedBeforePlan returns what was captured before a plan that is requested. If the
// metadata of the intent has the same plan, Redis has lost it, and what another
// system captured since then counts as its captures.
func capturedBeforePlan(h *Hold, stages []CaptureStage, in *PaymentIntent) int64 {
	if in == nil {
		return h.CapturedElsewhere
	}
	asked := map[string]string{}
	writeCaptureStagesMetadata(asked, &PartialCaptures{Plan: stages})
	base, err := parseMetadataAmount(MetaCapturesFrom, in.Metadata[MetaCapturesFrom])
	if err != nil || base > capturedSoFar(h) ||
		joinMetadataPieces(in.Metadata, MetaCaptures) != joinMetadataPieces(asked, MetaCaptures) {
		return h.CapturedElsewhere
	}
	return base
}

// isRecoveredCapturePlanTooLate reports whether the next capture of a plan found at Stripe is
// too long ago to be made without an operator.
func isRecoveredCapturePlanTooLate(h *Hold, valid *ValidRequest, now time.Time) bool {
	return valid.FromMetadata && len(valid.Captures) > 0 &&
		now.Sub(h.CaptureAt) > RecoveredCaptureGrace
}

// applyCaptureStages applies a change of the planned captures. An empty list
// ends them.
func (p *Patch) applyCaptureStages(h *Hold, now time.Time) error {
	sent := func(s *string) bool { return s != nil && *s != "" }
	switch {
	case p.Captures == nil && len(PlannedCaptureStages(h)) == 0:
		return nil
	case p.Captures == nil && (sent(p.CaptureAt) || sent(p.CancelAt) || p.CaptureAmount != nil):
		return newCapturesPlannedProblem(h)
	case p.Captures == nil && p.Renewal != nil && p.Renewal.Until != "":
		return newRenewalWithPartialCapturesProblem(h)
	case p.Captures == nil:
		return nil
	case len(p.Captures) == 0:
		clearCapturePlan(h)
		return nil
	case sent(p.CaptureAt) || sent(p.CancelAt):
		return newProblem(ConflictingTimes, "captures",
			"captures have times of their own: send no capture_at and no cancel_at")
	case p.CaptureAmount != nil:
		return newProblem(ConflictingTerms, "captures",
			"captures have amounts of their own: send no capture_amount")
	case mayHaveRenewalIntents(h) || p.Renewal != nil && p.Renewal.Until != "":
		return newRenewalWithPartialCapturesProblem(h)
	}
	stages, err := parseCaptureStages(p.Captures, p.TimeZone, h.Currency, now)
	if err != nil {
		return err
	}
	setCapturePlan(h, stages, capturedSoFar(h))
	return checkPlannedCaptureStages(h)
}

func newCapturesPlannedProblem(h *Hold) *Problem {
	return newProblem(CapturesPlanned, "captures",
		"hold %s has planned captures: change captures, or send an empty list first", h.ID)
}

// maxPartRequests bounds the requests that a hold remembers. It is above
// [MaxCaptures] because a request may come to nothing.
const maxPartRequests = 2 * MaxCaptures

// amountBits of a digest are of the amount, the others of the key.
const amountBits = 12

// digestPartialCaptureRequest identifies a request by the name of its sender, its
// idempotency key and its amount. It has 48 bits, 0 without a key.
func digestPartialCaptureRequest(by, key string, amount int64) uint64 {
	if key == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(strconv.Quote(by) + strconv.Quote(key)))
	ofAmount := sha256.Sum256(strconv.AppendInt(nil, amount, 10))
	return max(1, binary.BigEndian.Uint64(sum[:8])>>(16+amountBits))<<amountBits |
		binary.BigEndian.Uint64(ofAmount[:8])>>(64-amountBits)
}

// isRepeatedPartialCapture reports whether a request for a part was accepted before. It
// refuses the key of another request, and that of a part which was dropped while
// its outcome was unknown.
func isRepeatedPartialCapture(h *Hold, request uint64) (bool, error) {
	if h.PartialCaptures == nil || request == 0 {
		return false, nil
	}
	for _, r := range slices.Concat(h.PartialCaptures.Requests, []uint64{h.PartialCaptures.Request}) {
		switch {
		case r>>amountBits != request>>amountBits:
		case r != request:
			return false, newProblem(IdempotencyKeyReused, "Idempotency-Key", "the key was used "+
				"for a part of hold %s with another amount", h.ID)
		case r == h.PartialCaptures.Request && h.PartialCaptures.Part == 0:
			return false, newProblem(TooLate, "", "the outcome of this part of hold %s is unknown, "+
				"and %s were captured so far: compare, and send what is missing under another key",
				h.ID, FormatAmount(CapturedSoFar(h), h.Currency))
		default:
			return true, nil
		}
	}
	return false, nil
}

// IsPartAccepted reports whether h has accepted the same request of a capture that
// keeps the rest, by the same author.
func IsPartAccepted(h *Hold, req *CaptureRequest, by string) bool {
	again, err := isRepeatedPartialCapture(h,
		digestPartialCaptureRequest(by, req.RequestKey, req.Amount))
	return again && err == nil
}

// requestPartialCapture schedules a capture now that keeps the rest. The hold then returns
// to its own terms. Errors are *[Problem].
func requestPartialCapture(
	h Hold, req CaptureRequest, by string, now time.Time,
) (Decision, error) {
	now = now.UTC().Truncate(time.Millisecond)
	request := digestPartialCaptureRequest(by, req.RequestKey, req.Amount)
	if again, err := isRepeatedPartialCapture(&h, request); again || err != nil {
		return Decision{Hold: h, Unchanged: true}, err
	}
	if err := checkChangeable(&h); err != nil {
		return Decision{}, err
	}
	if err := checkPartialCaptureAllowedNow(&h, now); err != nil {
		return Decision{}, err
	}
	if err := checkPartialCaptureAmount(&h, req.Amount); err != nil {
		return Decision{}, err
	}
	params, err := req.CaptureParamsPatch.applyTo(h.CaptureParams)
	if err != nil {
		return Decision{}, err
	}
	if err := checkFeeAndTransferWithinCapture(&params, req.Amount, h.Currency); err != nil {
		return Decision{}, err
	}
	if (params.ApplicationFeeAmount > 0) != (h.CaptureParams.ApplicationFeeAmount > 0) {
		return Decision{}, newProblem(ConflictingTerms, "application_fee_amount", "Stripe wants a "+
			"fee on every capture of a PaymentIntent, or on none: change the fee of hold %s, "+
			"which its last capture sends, first", h.ID)
	}
	part := capturedSoFar(&h) + req.Amount
	d := replacePendingRequestWithOpNow(h, OpCapture, by, now)
	s := unsharePartialCaptures(&d.Hold)
	s.rememberPartRequest() // of a part whose outcome is unknown
	s.Part, s.PartParams, s.Request = part, params, request
	if lacksMulticapture(&d.Hold) {
		return Decision{}, multicaptureUnavailableProblem(&h, "final")
	}
	d.Hold.History[len(d.Hold.History)-1].Note = FormatAmount(req.Amount, h.Currency) +
		", the rest stays held"
	return d, nil
}

// checkNoPartialCapturePending refuses a request while a requested capture that keeps the
// rest has no outcome.
func checkNoPartialCapturePending(h *Hold) error {
	if h.PartialCaptures == nil || h.PartialCaptures.Part == 0 {
		return nil
	}
	return newProblem(TooLate, "", "a capture of a part of hold %s has no outcome yet: try again "+
		"in a moment", h.ID)
}

// checkPartialCaptureAllowedNow refuses a capture that keeps the rest where it
// would come in the way of what the hold does next.
func checkPartialCaptureAllowedNow(h *Hold, now time.Time) error {
	if err := checkNoPartialCapturePending(h); err != nil {
		return err
	}
	switch {
	case h.CancelWanted:
		return cancelAcceptedProblem(h, "capture")
	case h.State == Paused || h.Increment.Paused:
		return newProblem(HoldPaused, "", "hold %s is paused: resume it first", h.ID)
	case h.State == Attention:
		return newProblem(TooLate, "",
			"hold %s needs attention: capture, cancel or reschedule it first", h.ID)
	case h.NextOp == OpIncrement:
		return newIncrementPendingProblem(h)
	case len(PlannedCaptureStages(h)) > 0:
		return newCapturesPlannedProblem(h)
	case mayHaveRenewalIntents(h):
		return newRenewalWithPartialCapturesProblem(h)
	case h.State == Scheduled && (h.Reason != CauseSchedule || !h.ActionTime().After(now)):
		return newProblem(TooLate, "", "hold %s is due for its %s", h.ID, h.NextOp)
	case !h.ExpiresAt.After(now):
		return newProblem(AfterDeadline, "", "the authorization of hold %s ended at %s", h.ID,
			h.ExpiresAt.Format(time.RFC3339))
	case !h.Verified:
		return newProblem(TooLate, "", "hold %s has not been read at Stripe yet: try again in a "+
			"moment", h.ID)
	}
	return nil
}

// checkPartialCaptureAmount compares the amount of a capture that keeps the rest with what
// is held, and with the total of the terms.
func checkPartialCaptureAmount(h *Hold, amount int64) error {
	if amount == 0 {
		return newProblem(InvalidAmount, "amount", "a capture that keeps the rest names its "+
			"amount: send it in minor units, such as 1250 for 12.50")
	}
	if err := checkAmount("amount", amount, h.Currency); err != nil {
		return err
	}
	held := h.Amount
	if h.CaptureAmount > 0 {
		held = min(held, max(0, h.CaptureAmount-capturedSoFar(h)))
	}
	if amount > held {
		return newProblem(AmountTooLarge, "amount", "%s is more than the %s that is left to capture",
			FormatAmount(amount, h.Currency), FormatAmount(held, h.Currency))
	}
	if h.PartialCaptures != nil && h.PartialCaptures.Count >= MaxCaptures-1 {
		return newProblem(InvalidField, "final", "hold %s has %d captures: Stripe accepts %d, and "+
			"the last one must be final", h.ID, h.PartialCaptures.Count, MaxCaptures)
	}
	return nil
}

// Keys of the planned captures in a PaymentIntent's metadata.
const (
	// MetaCaptures has the planned captures as AT=AMOUNT, separated by commas:
	// "2026-12-01T10:00:00Z=4500,2026-12-03T10:00:00Z=3000". A long list
	// continues in holdd_captures_2, …
	MetaCaptures = "holdd_captures"
	// MetaCapturesFrom has the amount that was captured before them.
	MetaCapturesFrom = "holdd_captures_from"
)

// readCaptureStagesMetadata reads the planned captures into a request.
func readCaptureStagesMetadata(m map[string]string, req *ScheduleRequest) (err error) {
	text := joinMetadataPieces(m, MetaCaptures)
	if text == "" {
		return nil
	}
	if req.capturesFrom, err = parseMetadataAmount(MetaCapturesFrom,
		m[MetaCapturesFrom]); err != nil {
		return err
	}
	for item := range strings.SplitSeq(text, ",") {
		at, amount, _ := strings.Cut(strings.TrimSpace(item), "=")
		q := CaptureStageRequest{At: at, recovered: true}
		if q.Amount, err = parseMetadataAmount(MetaCaptures, amount); err != nil {
			return err
		}
		req.Captures = append(req.Captures, q)
	}
	return nil
}

// writeCaptureStagesMetadata adds the planned captures to m.
func writeCaptureStagesMetadata(m map[string]string, s *PartialCaptures) {
	if s == nil || len(s.Plan) == 0 {
		return
	}
	items := make([]string, len(s.Plan))
	for i, stage := range s.Plan {
		items[i] = fmt.Sprintf("%s=%d", stage.At.UTC().Format(time.RFC3339Nano), stage.Amount)
	}
	splitMetadataValue(m, MetaCaptures, strings.Join(items, ","))
	if s.Base > 0 {
		m[MetaCapturesFrom] = strconv.FormatInt(s.Base, 10)
	}
}

// hasSameCapturesAs reports whether the request asks for the captures of h.
func (d *ValidRequest) hasSameCapturesAs(h *Hold) bool {
	if len(d.Captures) > 0 || len(PlannedCaptureStages(h)) > 0 {
		return haveSameCaptureStages(d.Captures, PlannedCaptureStages(h))
	}
	return d.CaptureAt.Equal(h.CaptureAt) && d.CaptureAmount == h.CaptureAmount
}

func haveSameCapturePlan(h, other *Hold) bool {
	return haveSameCaptureStages(PlannedCaptureStages(h), PlannedCaptureStages(other))
}

// finalCaptureTotal returns the total that a final capture of amount is to reach.
// Without captures in parts, amount is the total.
func finalCaptureTotal(h *Hold, amount int64) int64 {
	if ownPartialCaptureTotal(h) == 0 {
		return amount
	}
	return capturedSoFar(h) + amount
}

// checkFinalCaptureTakesMoney refuses a last capture whose amount is given and was
// captured already. It would take nothing and release the rest, which the caller
// cannot have meant if another system, or a lost answer, captured the amount.
func checkFinalCaptureTakesMoney(h *Hold, amount int64) error {
	captured := capturedSoFar(h)
	if amount <= 0 || finalCaptureTotal(h, amount) > captured {
		return nil
	}
	return newProblem(AmountAlreadyCaptured, "amount", "%s of hold %s were captured so far, and "+
		"amount is the total of all captures: send %d to capture %s more, or cancel the hold to "+
		"release the rest", FormatAmount(captured, h.Currency), h.ID, captured+amount,
		FormatAmount(amount, h.Currency))
}

// NewFinalCaptureRequest returns the request that captures amount of what h still holds,
// and releases the rest.
func NewFinalCaptureRequest(h *Hold, amount int64) CaptureRequest {
	if ownPartialCaptureTotal(h) == 0 {
		amount += h.CapturedElsewhere // the request names the total
	}
	return CaptureRequest{Amount: amount}
}
