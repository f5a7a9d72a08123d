package hold

import (
	"slices"
	"strconv"
	"time"
)

// MaxCaptures is how many captures Stripe accepts for one PaymentIntent, the
// final one included (Stripe's documentation: multicapture).
const MaxCaptures = 50

// CaptureStage is one of a hold's planned captures.
type CaptureStage struct {
	At     time.Time
	Amount int64 // that this capture takes, in minor units
}

// PartialCaptures is what a hold that is captured in parts has beside its terms. The
// hold's CaptureAt is the time of the next stage, and its CaptureAmount the
// total of all stages with what was captured before them.
type PartialCaptures struct {
	Plan []CaptureStage // in the order of their times; empty without a plan
	Base int64          // captured by any system before the plan was accepted
	Done uint32         // stages of the plan that are over
	// Captured is what holdd's captures that keep the rest have taken, Count
	// how many they are.
	Captured int64
	Count    uint32
	// Part is the total that a requested capture which keeps the rest is to
	// reach; 0: none is requested.
	Part int64
	// PartParams are sent with Part in place of the hold's.
	PartParams CaptureParams
	// Request identifies the request for Part, 0 if it had no key. Without a
	// Part, it is that of a part which was dropped while its outcome was
	// unknown.
	Request uint64
	// Requests identify the requests of captured parts, so that a repeated
	// request captures nothing more.
	Requests []uint64
	// MetadataFull says that the intent's metadata has no room for [MetaParts].
	MetadataFull bool
	// Unknown is what a later release wrote.
	Unknown UnknownFields
}

// unsharePartialCaptures makes the staged captures of h its own, so that a
// change does not show in other copies of the hold.
func unsharePartialCaptures(h *Hold) *PartialCaptures {
	s := PartialCaptures{}
	if h.PartialCaptures != nil {
		s = *h.PartialCaptures
		s.Plan, s.Requests = slices.Clip(s.Plan), slices.Clip(s.Requests)
	}
	h.PartialCaptures = &s
	return &s
}

// cancelRequestedPart forgets a requested capture that keeps the rest. Its request can be
// repeated, unless the part may have been captured.
func cancelRequestedPart(h *Hold) {
	if h.PartialCaptures == nil || h.PartialCaptures.Part == 0 {
		return
	}
	s := unsharePartialCaptures(h)
	s.Part, s.PartParams = 0, CaptureParams{}
	if !h.Sent.Unknown {
		s.Request = 0
	}
}

// rememberPartRequest makes a repetition of the request of a part capture nothing.
func (s *PartialCaptures) rememberPartRequest() {
	if s.Request != 0 && !slices.Contains(s.Requests, s.Request) {
		s.Requests = append(s.Requests, s.Request)
		s.Requests = s.Requests[max(0, len(s.Requests)-maxPartRequests):]
	}
	s.Request = 0
}

// PlannedCaptureStages returns the hold's planned captures.
func PlannedCaptureStages(h *Hold) []CaptureStage {
	if h.PartialCaptures == nil {
		return nil
	}
	return h.PartialCaptures.Plan
}

// ownPartialCaptureTotal returns what holdd's captures that keep the rest have taken.
func ownPartialCaptureTotal(h *Hold) int64 {
	if h.PartialCaptures == nil {
		return 0
	}
	return h.PartialCaptures.Captured
}

// CapturedSoFar returns what was captured of an open hold, by any system, as far
// as is known.
func CapturedSoFar(h *Hold) int64 {
	if h.State.IsFinal() {
		return h.CapturedAmount
	}
	return capturedSoFar(h)
}

func capturedSoFar(h *Hold) int64 { return h.CapturedElsewhere + ownPartialCaptureTotal(h) }

// hasNonFinalCaptureStageLeft reports whether a planned capture is still to come that
// keeps the rest.
func hasNonFinalCaptureStageLeft(h *Hold) bool {
	s := h.PartialCaptures
	return s != nil && int(s.Done)+1 < len(s.Plan)
}

// captureStageTotal returns the total that the plan has reached after stage i.
func captureStageTotal(s *PartialCaptures, i uint32) int64 {
	total := s.Base
	for _, stage := range s.Plan[:min(int(i)+1, len(s.Plan))] {
		total += stage.Amount
	}
	return total
}

// nextCaptureTargetTotal returns the total that the hold's next capture is to reach,
// whoever captures it, 0 for everything. final says that it releases the rest.
// A capture that takes all of it is final as well.
func nextCaptureTargetTotal(h *Hold) (total int64, final bool) {
	s := h.PartialCaptures
	switch {
	case s != nil && s.Part > 0:
		total = s.Part
	case hasNonFinalCaptureStageLeft(h) && h.Reason == CauseSchedule:
		total = min(captureStageTotal(s, s.Done), h.CaptureAmount)
	default:
		return h.CaptureAmount, true
	}
	return total, h.Amount > 0 && total >= AuthorizedTotal(h)
}

// isNextCapturePartial reports whether the hold's next operation is a capture that keeps
// the rest.
func isNextCapturePartial(h *Hold) bool {
	_, final := nextCaptureTargetTotal(h)
	return h.NextOp == OpCapture && !final
}

// isPartialTargetReached reports whether nothing is missing from the total of a capture
// that keeps the rest.
func isPartialTargetReached(h *Hold) bool {
	total, _ := nextCaptureTargetTotal(h)
	return isNextCapturePartial(h) && total <= capturedSoFar(h)
}

// NextCaptureAmount returns what the hold's next capture takes if no other
// system captures a part before, and whether it releases the rest. It is 0
// while the amount is not known.
func NextCaptureAmount(h *Hold) (amount int64, final bool) {
	total, final := nextCaptureTargetTotal(h)
	if total == 0 {
		return h.Amount, final
	}
	return max(0, total-capturedSoFar(h)), final
}

// lastPlannedCaptureTime returns the time of the last planned capture.
func lastPlannedCaptureTime(h *Hold) time.Time {
	if stages := PlannedCaptureStages(h); len(stages) > 0 {
		return stages[len(stages)-1].At
	}
	return h.CaptureAt
}

// advanceToNextCaptureStage makes the next stage the one that the hold waits
// for.
func advanceToNextCaptureStage(h *Hold) {
	s := unsharePartialCaptures(h)
	if s.Part == 0 && hasNonFinalCaptureStageLeft(h) {
		s.Done++
		h.CaptureAt = s.Plan[s.Done].At
	}
	if s.Part != 0 {
		s.rememberPartRequest()
	}
	s.Part, s.PartParams = 0, CaptureParams{}
}

// smallestStageAmount returns the smallest amount of the captures that are still to
// come, 0 without a plan.
func smallestStageAmount(h *Hold) (least int64) {
	s := h.PartialCaptures
	if s == nil {
		return 0
	}
	for _, stage := range s.Plan[min(int(s.Done), len(s.Plan)):] {
		if least == 0 || stage.Amount < least {
			least = stage.Amount
		}
	}
	return least
}

// lacksMulticapture reports whether the hold is to be captured in parts, and a
// read of its charge has shown that it can be captured only once. A charge of
// which holdd has captured a part allows it.
func lacksMulticapture(h *Hold) bool {
	needed := hasNonFinalCaptureStageLeft(h)
	if h.NextOp == OpCapture && h.Reason != CauseSchedule { // on request, or by on_expiry
		needed = isNextCapturePartial(h)
	}
	known := h.Features&FeaturesKnown != 0 || h.SingleCapture
	return needed && ownPartialCaptureTotal(h) == 0 && known && h.Features&FeatureMulticapture == 0
}

const multicaptureHint = "its charge says that multicapture is unavailable. Stripe offers it to " +
	"accounts on IC+ pricing or on request, and it must be requested (request_multicapture) when " +
	"the hold is placed"

func multicaptureUnavailableProblem(h *Hold, field string) *Problem {
	return newProblem(MulticaptureUnavailable, field, "hold %s cannot be captured in parts: %s",
		h.ID, multicaptureHint)
}

// checkMulticaptureIfNeeded returns a *[Problem] if the hold's terms need a feature that
// its charge lacks.
func checkMulticaptureIfNeeded(h *Hold) error {
	if lacksMulticapture(h) {
		return multicaptureUnavailableProblem(h, "captures")
	}
	return nil
}

// mayHaveRenewalIntents reports whether the hold has, or may get, another intent: what
// was captured of the first would not be known to it.
func mayHaveRenewalIntents(h *Hold) bool {
	return h.Renewal != nil && (!h.Renewal.Until.IsZero() || mayHaveSecondAuthorization(h))
}

func newRenewalWithPartialCapturesProblem(h *Hold) *Problem {
	return newProblem(ConflictingTerms, "captures", "hold %s is renewed: a new authorization "+
		"cannot take the place of one that is captured in parts, so end the renewals first", h.ID)
}

func haveSameCaptureStages(a, b []CaptureStage) bool {
	return slices.EqualFunc(a, b, func(x, y CaptureStage) bool {
		return x.Amount == y.Amount && x.At.Equal(y.At)
	})
}

// CaptureStageView is a planned capture as the API, events and the command line
// show it.
type CaptureStageView struct {
	At       time.Time `json:"at" doc:"When to capture"`
	Amount   int64     `json:"amount" doc:"What this capture takes, in minor units"`
	Captured bool      `json:"captured,omitempty" doc:"It is over: holdd, or another system, has captured it"`
}

// NextCaptureView is the next capture of a hold that is captured in parts.
type NextCaptureView struct {
	Amount int64 `json:"amount" doc:"What it takes, in minor units, if no other system captures a part before"`
	Final  bool  `json:"final" doc:"It releases the rest"`
}

// addPartialCapturesToView adds the captures in parts to a view.
func addPartialCapturesToView(v *View, h *Hold) {
	v.CapturedAmount = CapturedSoFar(h)
	s := h.PartialCaptures
	if s == nil {
		return
	}
	for i, stage := range s.Plan {
		captured := i < int(s.Done) || h.State == Captured && captureStageTotal(s, uint32(i)) <=
			h.CapturedAmount
		v.Captures = append(v.Captures, CaptureStageView{At: stage.At.UTC(), Amount: stage.Amount,
			Captured: captured})
	}
	if h.NextOp == OpCapture {
		amount, final := NextCaptureAmount(h)
		v.NextCapture = &NextCaptureView{Amount: amount, Final: final}
	}
}

// describePartialCapture describes what a capture that kept the rest has taken.
func describePartialCapture(h *Hold, own int64) string {
	note := FormatAmount(own, h.Currency) + " captured"
	if own == 0 {
		note = "captured by another system"
	}
	if s := h.PartialCaptures; len(s.Plan) > 0 && s.Part == 0 {
		note += " (" + strconv.Itoa(int(s.Done)+1) + " of " + strconv.Itoa(len(s.Plan)) + ")"
	}
	return note
}
