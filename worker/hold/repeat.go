package hold

import (
	"errors"
	"time"
)

// RefuseUnlessRepeats returns nil if the request asks for the terms of h, the hold of its intent:
// it repeats a request that was accepted. Otherwise the error is a *[Problem]. A request whose
// times have passed is validated as of the creation of h.
func (req *ScheduleRequest) RefuseUnlessRepeats(h *Hold, now time.Time) error {
	valid, err := req.Validate(now)
	if errors.Is(err, &Problem{Code: InThePast}) {
		asAccepted, invalid := req.Validate(h.CreatedAt)
		if invalid != nil || !asAccepted.HasSameTermsAs(h) {
			return err
		}
		return nil
	}
	if err != nil || valid.HasSameTermsAs(h) {
		return err
	}
	if h.State.IsFinal() {
		return newProblem(HoldExists, "payment_intent",
			"%s: it cannot be scheduled again with other terms", alreadySettledProblem(h).Detail)
	}
	return newProblem(HoldExists, "payment_intent",
		"hold %s is scheduled already, with other terms: change it with PATCH /v1/holds/%s",
		h.ID, h.ID)
}
