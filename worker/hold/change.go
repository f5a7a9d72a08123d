package hold

import (
	"maps"
	"time"
)

// Patch is a change of a hold's terms. Omitted fields stay; an empty time
// clears it. Setting one time clears the other.
type Patch struct {
	CaptureAt     *string         `json:"capture_at,omitempty" doc:"New time to capture; an empty string clears it"`
	CancelAt      *string         `json:"cancel_at,omitempty" doc:"New time to release; an empty string clears it"`
	TimeZone      string          `json:"time_zone,omitempty" doc:"IANA zone of local times"`
	CaptureAmount *int64          `json:"capture_amount,omitempty" doc:"Capture only this much; 0 means everything"`
	OnExpiry      *string         `json:"on_expiry,omitempty" doc:"cancel, capture or alert"`
	Renewal       *RenewalRequest `json:"renewal,omitempty" doc:"Replaces the renewal terms"`
	// Captures is nil if it stays.
	Captures  []CaptureStageRequest `json:"captures,omitzero" required:"false" maxItems:"50" doc:"Replaces the planned captures that are still to come. An empty list ends them" nullable:"false"`
	Reference *string               `json:"reference,omitempty"`
	Metadata  map[string]string     `json:"metadata,omitempty" doc:"Pairs to set; an empty value removes a pair"`
	Confirm   bool                  `json:"confirm,omitempty" doc:"Accept the request even if on_expiry then captures or releases the money at once"`
	CaptureParamsPatch
}

// applyTo applies the patch to h's terms and validates the result. It does not
// check whether h may change.
func (p *Patch) applyTo(h *Hold, now time.Time) error {
	if p.Renewal != nil {
		if err := p.Renewal.applyTo(h, p.TimeZone, now); err != nil {
			return err
		}
	}
	if err := p.applyCaptureStages(h, now); err != nil {
		return err
	}
	if err := p.applyActionTimes(h, now); err != nil {
		return err
	}
	if p.CaptureAmount != nil {
		h.CaptureAmount = *p.CaptureAmount
	}
	if err := checkHoldCaptureAmount(h); err != nil {
		return err
	}
	var err error
	if h.CaptureParams, err = p.CaptureParamsPatch.applyTo(h.CaptureParams); err != nil {
		return err
	}
	if err := checkHoldCaptureParams(h); err != nil {
		return err
	}
	if p.OnExpiry != nil {
		policy, err := parseOnExpiry(*p.OnExpiry)
		if err != nil {
			return err
		}
		h.OnExpiry = policy
	}
	if p.Reference != nil {
		if err := checkNewReference(*p.Reference); err != nil {
			return err
		}
		h.Reference = *p.Reference
	}
	if len(p.Metadata) > 0 {
		merged := mergeCaptureMetadata(h.Metadata, p.Metadata)
		if err := validateMetadata(merged); err != nil {
			return err
		}
		h.Metadata = merged
	}
	return nil
}

// applyActionTimes sets the times of the patch. Setting one clears the other.
func (p *Patch) applyActionTimes(h *Hold, now time.Time) (err error) {
	if p.CaptureAt != nil && p.CancelAt != nil && *p.CaptureAt != "" && *p.CancelAt != "" {
		return newProblem(ConflictingTimes, "cancel_at",
			"a hold is captured or canceled, not both: send capture_at or cancel_at")
	}
	set := func(field string, sent *string, own, other *time.Time) {
		if sent == nil || err != nil {
			return
		}
		if *own, err = parseActionTime(field, *sent, p.TimeZone, now); !own.IsZero() {
			*other = time.Time{}
		}
	}
	set("capture_at", p.CaptureAt, &h.CaptureAt, &h.CancelAt)
	set("cancel_at", p.CancelAt, &h.CancelAt, &h.CaptureAt)
	return err
}

// checkChangeable returns a *[Problem] if the hold accepts no change now.
func checkChangeable(h *Hold) error {
	switch {
	case h.State.IsFinal():
		return alreadySettledProblem(h)
	case h.State == Working:
		return newProblem(TooLate, "", "hold %s is being processed (%s): try again in a moment",
			h.ID,
			h.NextOp)
	}
	return nil
}

func cancelAcceptedProblem(h *Hold, action string) *Problem {
	return newProblem(CancelAccepted, "", "cannot %s hold %s: a cancel was accepted", action, h.ID)
}

// requireRetrieveAfterAttention makes sure that Stripe is read before the key of a
// hold that leaves Attention is used again: Stripe may replay the refusal.
func requireRetrieveAfterAttention(h *Hold) {
	if h.State == Attention && (h.Sent.Count > 0 || h.Sent.Unknown) {
		h.ReadFirst = true
	}
}

// ApplyPatch changes a hold's terms. Errors are *[Problem].
func (h Hold) ApplyPatch(p *Patch, by string, now time.Time) (Decision, error) {
	if err := checkChangeable(&h); err != nil {
		return Decision{}, err
	}
	if h.NextOp == OpIncrement {
		return Decision{}, newIncrementPendingProblem(&h)
	}
	if err := checkNoPartialCapturePending(&h); err != nil {
		return Decision{}, err
	}
	old := h
	now = now.UTC().Truncate(time.Millisecond)
	if err := p.applyTo(&h, now); err != nil {
		return Decision{}, err
	}
	timeSent := p.CaptureAt != nil || p.CancelAt != nil || len(p.Captures) > 0
	timed := !h.ActionTime().Equal(old.ActionTime()) ||
		h.CaptureAt.IsZero() != old.CaptureAt.IsZero() || !haveSameCapturePlan(&h, &old)
	money := timed || !haveSameCaptureTerms(&h, &old)
	if old.CancelWanted && (money || timeSent) {
		return Decision{}, cancelAcceptedProblem(&h, "reschedule")
	}
	late, known := checkActionTimeBeforeDeadline(&h), h.Verified || h.ExpiresSource == SourceCaller
	renewed := !renewalTermsOf(&h).equal(renewalTermsOf(&old))
	if (timed || renewed) && late != nil && known {
		return Decision{}, late
	}
	// A time sent for a hold that requires attention confirms it, even
	// unchanged.
	again := old.State == Attention && timeSent
	if !money && !again && !renewed && h.OnExpiry == old.OnExpiry && h.Reference == old.Reference &&
		maps.Equal(h.Metadata, old.Metadata) {
		return Decision{Hold: old, Unchanged: true}, nil
	}
	replanPatchedHold(&h, &old, again || timed && old.State != Paused, late != nil, now)
	h.Revision++
	h.Acknowledged = false
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryChanged, By: by})
	d := Decision{Hold: h, NewDeadline: timed || again || renewed || old.Acknowledged ||
		h.OnExpiry != old.OnExpiry}
	d.setUnmirrored()
	d.addEvent(EventChanged, 0)
	if h.State == Attention && old.State != Attention {
		d.addEvent(EventAttention, h.Reason)
	}
	if timed && late != nil && !h.CaptureAt.IsZero() {
		d.addExpiresBeforeActionEvent(now)
	}
	return d, nil
}

// replanPatchedHold plans the next operation of a hold whose terms changed from
// those of old. newTime says that its time was set, and late that it is after
// the deadline.
func replanPatchedHold(h, old *Hold, newTime, late bool, now time.Time) {
	switch {
	case newTime:
		requireRetrieveAfterAttention(h)
		planNextOp(h, now)
	case h.OnExpiry != old.OnExpiry && old.State == Scheduled && old.Reason == CauseOnExpiry:
		revertExpiryPolicy(h, now)
		if late && h.State == Scheduled {
			h.State, h.NextOp, h.NextAt, h.Reason = Attention, 0, time.Time{}, CauseAfterDeadline
		}
	}
}

// RequestCapture schedules a capture now. Amount 0 means the amount of the
// terms. A request for what is already captured changes nothing. After an
// accepted cancel it is refused. Errors are *[Problem].
func (h Hold) RequestCapture(req CaptureRequest, by string, now time.Time) (Decision, error) {
	if req.Final != nil && !*req.Final {
		return requestPartialCapture(h, req, by, now)
	}
	if h.State == Captured && !h.CancelWanted && isCapturedAsRequested(&h, &req) {
		return Decision{Hold: h, Unchanged: true}, nil
	}
	if err := checkChangeable(&h); err != nil {
		return Decision{}, err
	}
	if h.CancelWanted {
		return Decision{}, cancelAcceptedProblem(&h, "capture")
	}
	if h.State == Paused || h.Increment.Paused {
		return Decision{}, newProblem(HoldPaused, "", "hold %s is paused: resume it first", h.ID)
	}
	if err := checkNoPartialCapturePending(&h); err != nil {
		return Decision{}, err
	}
	old := h
	if err := checkFinalCaptureTakesMoney(&h, req.Amount); err != nil {
		return Decision{}, err
	}
	if req.Amount != 0 {
		h.CaptureAmount = finalCaptureTotal(&h, req.Amount)
	}
	if err := checkHoldCaptureAmount(&h); err != nil {
		return Decision{}, err
	}
	var err error
	if h.CaptureParams, err = req.CaptureParamsPatch.applyTo(h.CaptureParams); err != nil {
		return Decision{}, err
	}
	if err := checkHoldCaptureParams(&h); err != nil {
		return Decision{}, err
	}
	if h.NextOp == OpCapture && h.Reason == CauseTrigger && h.State == Scheduled &&
		haveSameCaptureTerms(&h, &old) {
		return Decision{Hold: h, Unchanged: true}, nil // requested before, not yet claimed
	}
	return replacePendingRequestWithOpNow(h, OpCapture, by, now), nil
}

// isCapturedAsRequested reports whether a captured hold already has the outcome
// of a capture request, so that a repeated request is no conflict. A request
// without an amount matches only a capture by holdd: what another system
// captured may be less than all.
func isCapturedAsRequested(h *Hold, req *CaptureRequest) bool {
	params, err := req.CaptureParamsPatch.applyTo(h.CaptureParams)
	if err != nil || !params.Equal(&h.CaptureParams) {
		return false
	}
	want := h.CaptureAmount
	if req.Amount != 0 {
		want = req.Amount
		if parts := ownPartialCaptureTotal(h); parts > 0 {
			// It came on top of all before, see finalCaptureTotal.
			want += parts + h.CapturedElsewhere
		}
	}
	if want == 0 {
		return h.CapturedAmount > h.CapturedElsewhere && h.CapturedAmount == AuthorizedTotal(h)
	}
	return want == h.CapturedAmount
}

// haveSameCaptureTerms reports whether a capture of both states of a hold is
// the same.
func haveSameCaptureTerms(h, other *Hold) bool {
	return h.CaptureAmount == other.CaptureAmount && haveSameCapturePlan(h, other) &&
		h.CaptureParams.Equal(&other.CaptureParams)
}

// RequestCancel schedules a cancel now. Once it is accepted, nothing captures
// the hold. An empty reason means the one recorded before, or else the setting.
// A request for a hold that is already canceled changes nothing. Errors are
// *[Problem].
func (h Hold) RequestCancel(reason, by string, now time.Time) (Decision, error) {
	if err := checkCancellationReason(reason); err != nil {
		return Decision{}, err
	}
	if h.State == Canceled && (reason == "" || reason == h.CancellationReason) {
		return Decision{Hold: h, Unchanged: true}, nil
	}
	if err := checkChangeable(&h); err != nil {
		return Decision{}, err
	}
	if h.CancelWanted && h.State == Scheduled {
		if before := cancellationReasonToSend(&h); reason != "" && reason != before {
			return Decision{}, newProblem(CancelAccepted, "cancellation_reason",
				"cannot cancel hold %s as %s: a cancel was accepted as %s", h.ID, reason, before)
		}
		return Decision{Hold: h, Unchanged: true}, nil
	}
	h.CancelWanted = true
	if reason != "" {
		h.CancellationReason = reason
	}
	return replacePendingRequestWithOpNow(h, OpCancel, by, now), nil
}

func replacePendingRequestWithOpNow(h Hold, op Op, by string, now time.Time) Decision {
	now = now.UTC().Truncate(time.Millisecond)
	requireRetrieveAfterAttention(&h)
	dropped := cancelPendingIncrement(&h, now)
	entry := HistoryEntry{At: now, Kind: HistoryTriggered, By: by, Op: op}
	if h.PartialCaptures != nil && h.PartialCaptures.Part != 0 {
		entry.Note = "takes the place of the requested capture of a part"
	}
	cancelRequestedPart(&h)
	h.State, h.NextOp, h.NextAt, h.Reason = Scheduled, op, now, CauseTrigger
	resetRetryCounters(&h)
	h.Revision++
	appendHistory(&h, entry)
	return Decision{Hold: h, Events: dropped, NextStepNow: true}
}

// Pause suspends the hold's own time until it is resumed. The deadline stays:
// near it, on_expiry cancel still acts, because the authorization would end
// anyway. on_expiry capture does not. A part that was accepted has its outcome
// first. Errors are *[Problem].
func (h Hold) Pause(cause Cause, by string, now time.Time) (Decision, error) {
	if err := checkChangeable(&h); err != nil {
		return Decision{}, err
	}
	switch {
	case h.State == Paused || h.Increment.Paused:
		return Decision{}, newProblem(AlreadyPaused, "", "hold %s is already paused", h.ID)
	case h.State == Attention:
		return Decision{}, newProblem(TooLate, "",
			"cannot pause hold %s: it needs attention and has no scheduled action", h.ID)
	case h.CancelWanted:
		return Decision{}, cancelAcceptedProblem(&h, "pause")
	}
	if err := checkNoPartialCapturePending(&h); err != nil {
		return Decision{}, err
	}
	dropped := cancelPendingIncrement(&h, now)
	h.State, h.NextOp, h.NextAt, h.Reason = Paused, 0, time.Time{}, cause
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryPaused, By: by, Cause: cause})
	d := Decision{Hold: h, Events: dropped, NewDeadline: true}
	d.setUnmirrored()
	d.addEvent(EventPaused, cause)
	return d, nil
}

// Resume returns a paused hold to its own terms. A time that has passed means
// now. Errors are *[Problem].
func (h Hold) Resume(by string, now time.Time) (Decision, error) {
	if err := checkChangeable(&h); err != nil {
		return Decision{}, err
	}
	now = now.UTC().Truncate(time.Millisecond)
	if h.Increment.Paused {
		return Decision{}, newIncrementPendingProblem(&h)
	}
	if h.State != Paused {
		return Decision{}, newProblem(NotPaused, "", "hold %s is not paused", h.ID)
	}
	planNextOp(&h, now)
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryResumed, By: by})
	d := Decision{Hold: h, NewDeadline: true}
	d.setUnmirrored()
	d.addEvent(EventResumed, 0)
	return d, nil
}

// AcknowledgeWarnings silences the warnings that are still to come, until the terms
// change. Errors are *[Problem].
func (h Hold) AcknowledgeWarnings(by string, now time.Time) (Decision, error) {
	if err := checkChangeable(&h); err != nil {
		return Decision{}, err
	}
	if h.Acknowledged {
		return Decision{Hold: h, Unchanged: true}, nil
	}
	h.Acknowledged = true
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryAcknowledged, By: by})
	d := Decision{Hold: h}
	d.addEvent(EventAcknowledged, 0)
	return d, nil
}
