package hold

import (
	"cmp"
	"slices"
	"strings"
)

// The cancellation reasons that Stripe accepts.
const (
	ReasonAbandoned           = "abandoned"
	ReasonDuplicate           = "duplicate"
	ReasonFraudulent          = "fraudulent"
	ReasonRequestedByCustomer = "requested_by_customer"
)

// The cancellation reasons by which Stripe says that the card network ended the
// authorization. No request can send them.
const (
	ReasonAutomatic = "automatic"
	ReasonExpired   = "expired" // in newer API versions
)

// CancellationReasons lists the cancellation reasons that Stripe accepts.
func CancellationReasons() []string {
	return []string{ReasonAbandoned, ReasonDuplicate, ReasonFraudulent, ReasonRequestedByCustomer}
}

// checkCancellationReason refuses a reason that Stripe would refuse. Empty
// means the setting.
func checkCancellationReason(s string) error {
	if all := CancellationReasons(); s != "" && !slices.Contains(all, s) {
		return newProblem(InvalidField, "cancellation_reason",
			"invalid cancellation_reason %.40q: want %s, or none for the setting", s,
			strings.Join(all, ", "))
	}
	return nil
}

// cancellationReasonToSend returns the reason that a cancel sends. A record
// without one is of a release that always sent abandoned.
func cancellationReasonToSend(h *Hold) string {
	return cmp.Or(h.CancellationReason, ReasonAbandoned)
}
