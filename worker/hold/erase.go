package hold

import "time"

// erasedNote is the history's note of an erasure.
const erasedNote = "personal data erased"

// ErasePersonalData erases what the caller said about the guest of a settled
// hold: the reference, the metadata, what the capture was to send, and the texts
// of requests. by asked for it. What the money did stays. The decision is
// unchanged if nothing is left to erase. Errors are *[Problem].
func (h Hold) ErasePersonalData(by string, now time.Time) (Decision, error) {
	if !h.State.IsFinal() {
		return Decision{}, newProblem(NotSettled, "",
			"hold %s is %s: personal data can be erased when the hold has ended", h.ID, h.State)
	}
	erased := h
	erased.Reference, erased.Metadata = "", nil
	erased.CaptureParams.StatementDescriptorSuffix = ""
	erased.CaptureParams.CaptureMetadata = nil
	changed := h.Reference != "" || len(h.Metadata) > 0 ||
		h.CaptureParams.StatementDescriptorSuffix != "" || len(h.CaptureParams.CaptureMetadata) > 0
	if r := h.Renewal; r != nil && (r.Customer != "" || r.PaymentMethod != "" || len(r.Metadata) > 0) {
		changed = true
		edited := unshareRenewal(&erased)
		edited.Customer, edited.PaymentMethod, edited.Metadata = "", "", nil
	}
	erased.History = make([]HistoryEntry, len(h.History))
	for i, e := range h.History {
		if e.By != "holdd" && e.By != "stripe" && e.Note != "" && e.Note != erasedNote {
			e.Note, changed = "", true
		}
		erased.History[i] = e
	}
	if !changed {
		return Decision{Hold: h, Unchanged: true}, nil
	}
	erased.Revision++
	appendHistory(&erased, HistoryEntry{At: now, Kind: HistoryChanged, By: by, Note: erasedNote})
	return Decision{Hold: erased}, nil
}
