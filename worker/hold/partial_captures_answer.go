package hold

import (
	"slices"
	"time"
)

// applyPartialCaptureAnswer decides by the answer to a capture that keeps the rest. ok is
// false where it means the same as for any other request.
func applyPartialCaptureAnswer(h Hold, call Call, a Answer, now time.Time) (d Decision, ok bool) {
	in := a.Intent
	if !call.KeepRest || a.Kind != AnswerOK || in == nil || in.Status != StatusRequiresCapture ||
		in.AmountReceived < capturedSoFar(&h)+call.Amount {
		return Decision{}, false
	}
	return completePartialCapture(h, in, call.Amount, h.Reason, now), true
}

// applyRetrieveOfPartialCapture decides by a read of a hold that is captured in parts. What was
// received in all says whether the total of the part is reached, by holdd's
// request or by another system. ok is false if something is missing, or if a
// request that has no outcome may come on top of it.
func applyRetrieveOfPartialCapture(h Hold, in *PaymentIntent, now time.Time) (d Decision, ok bool) {
	total, _ := nextCaptureTargetTotal(&h)
	if !isNextCapturePartial(&h) || in.AmountReceived < total {
		return Decision{}, false
	}
	rise, want := in.AmountReceived-capturedSoFar(&h), total-capturedSoFar(&h)
	sent := h.Sent.Count > 0 || h.Sent.Unknown
	if p, recorded := findUnknownOwnParts(&h, in); recorded && sent {
		own := p.captured - ownPartialCaptureTotal(&h)
		s := unsharePartialCaptures(&h)
		s.Count = max(s.Count, p.count-1) // completePartialCapture counts the last one
		s.addRequests(p.requests)
		return completePartialCapture(h, in, own, h.Reason, now), true
	}
	if !h.Verified {
		return Decision{}, false
	}
	if sent && want > 0 && rise == want {
		return completePartialCapture(h, in, want, h.Reason, now), true
	}
	if h.Sent.Unknown && now.Sub(lastHistoryTimeOfKind(&h, HistoryAttempt)) < lateEffectWindow {
		return Decision{}, false
	}
	return completePartialCapture(h, in, 0, CauseElsewhere, now), true
}

// completePartialCapture ends a capture that keeps the rest, and plans the next one. own is
// what holdd's request took.
func completePartialCapture(h Hold, in *PaymentIntent, own int64, cause Cause, now time.Time) Decision {
	note, elsewhere := describePartialCapture(&h, own), h.CapturedElsewhere
	s := unsharePartialCaptures(&h)
	s.Captured += own
	if own > 0 {
		s.Count++
	}
	updateFromHeldIntent(&h, in, now)
	restartKeyGenerations(&h)
	advanceToNextCaptureStage(&h)
	planNextOp(&h, now)
	h.Revision++
	by := "holdd"
	if cause == CauseElsewhere {
		by = "stripe"
	}
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryPart, By: by, Op: OpCapture,
		Cause: cause, Note: note + ", " + FormatAmount(h.Amount, h.Currency) + " left"})
	d := Decision{Hold: h, NewDeadline: true}
	d.Events = []Event{{Type: EventPartlyCaptured, Cause: cause, Amount: own}}
	if h.CapturedElsewhere > elsewhere && cause != CauseElsewhere {
		d.addEvent(EventChanged, CauseElsewhere) // beside holdd's part
	}
	return d
}

// restartKeyGenerations begins with the first key again: the key of the next part
// names another total. A hold that is rebuilt after a loss of Redis then sends
// the part with the key of the request that may still be on its way.
func restartKeyGenerations(h *Hold) {
	h.Generation = 1
	h.Sent, h.ReadFirst, h.InconclusiveReads = IdempotencyKeyUsage{}, false, 0
}

// mustKeepPartialCaptureKey reports whether a capture that keeps the rest is sent again with
// the key of before, although a read has shown that it had no effect. A late
// duplicate of such a capture would take the money once more under a new key;
// under the same key Stripe replays the first answer. A new key is needed where
// Stripe may have forgotten the old one, or has stored an answer without effect.
func mustKeepPartialCaptureKey(h *Hold, now time.Time) bool {
	if !isNextCapturePartial(h) || now.Sub(h.Sent.FirstAt) >= keyLifetime {
		return false
	}
	stored := []AnswerKind{AnswerOK, AnswerUnexpectedState, AnswerChargeGone, AnswerNotFound,
		AnswerReplayedError, AnswerInvalid, AnswerDeclined, AnswerAmountTooLarge}
	return h.Sent.Count == 0 || !slices.Contains(stored,
		lastHistoryEntryOfKind(h, HistoryAttempt).Answer)
}

// hasUnresolvedRequest reports whether a request was sent of which no read has shown yet
// that it had no effect.
func hasUnresolvedRequest(h *Hold, now time.Time) bool {
	return h.Sent.Unknown || h.Sent.Count > 0 && !mustKeepPartialCaptureKey(h, now)
}

// startKeyGenerationAfterRetrieve ends the requests of this generation after a read that
// shows that they had no effect.
func startKeyGenerationAfterRetrieve(h *Hold, now time.Time) {
	unresolved, keep := hasUnresolvedRequest(h, now), mustKeepPartialCaptureKey(h, now)
	if unresolved {
		h.Retries++
	}
	switch {
	case keep && (unresolved || h.Sent.Count > 0):
		h.Sent.Unknown = false
	case unresolved:
		h.Generation++
		h.Sent = IdempotencyKeyUsage{}
	default:
		h.Sent = IdempotencyKeyUsage{}
	}
	h.ReadFirst, h.InconclusiveReads = false, 0
}

// recordCaptureAtEnd records a capture that ended the intent, and returns cause and
// note of the hold, and the event of a part whose answer was lost. confirmed is the
// capture that the answer belongs to, nil if there is none.
func recordCaptureAtEnd(
	h *Hold, in *PaymentIntent, ours bool, confirmed *Call, now time.Time,
) (cause Cause, note string, found []Event) {
	before, known := *h, ownPartialCaptureTotal(h)
	sent := ours && confirmed == nil && isNextCapturePartial(h)
	cause, note, ok := recordRestReleased(h, in, ours, sent, now)
	if !ok {
		cause, note = recordOwnAndElsewhereCaptures(h, in, ours, confirmed)
	}
	if part := ownPartialCaptureTotal(h) - known; sent && part > 0 {
		found = []Event{{Type: EventPartlyCaptured, Cause: before.Reason, Amount: part}}
		appendHistory(h, HistoryEntry{At: now, Kind: HistoryPart, By: "holdd", Op: OpCapture,
			Cause: before.Reason, Note: describePartialCapture(&before, part)})
	}
	return cause, note, found
}

// recordRestReleased returns cause and note of a hold whose parts were captured
// and whose rest was then released. ok is false if more was captured. sent says
// that a part was sent whose answer was lost.
func recordRestReleased(
	h *Hold, in *PaymentIntent, ours, sent bool, now time.Time,
) (cause Cause, note string, ok bool) {
	total, _ := nextCaptureTargetTotal(h)
	adopted := adoptUnknownOwnParts(h, in) && sent
	if adopted {
		ours = false // the part is known: what is above it was captured elsewhere
	} else if lost := total - capturedSoFar(h); sent && lost > 0 && in.AmountReceived == total {
		// The part whose reply was lost was captured, and then the rest ended.
		s := unsharePartialCaptures(h)
		s.Captured, s.Count, ours = s.Captured+lost, s.Count+1, false
		s.rememberPartRequest()
	}
	if ownPartialCaptureTotal(h) == 0 || in.AmountReceived > capturedSoFar(h) && !adopted {
		return 0, "", false
	}
	note = FormatAmount(in.AmountReceived, in.Currency) + " captured in parts, the rest released"
	h.CapturedAmount = in.AmountReceived
	h.CapturedElsewhere = max(0, in.AmountReceived-ownPartialCaptureTotal(h))
	switch {
	case ours && (h.NextOp == OpCapture || h.NextOp == OpCancel):
		return h.Reason, note, true
	case !now.Before(h.ExpiresAt):
		return CauseExpired, note + " by the card network", true
	}
	return CauseElsewhere, note + " by another system", true
}
