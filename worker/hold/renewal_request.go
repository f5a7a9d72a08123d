package hold

import (
	"cmp"
	"strconv"
	"time"
)

// RenewalRequest asks for a hold that outlasts its authorization. In a change,
// it replaces the renewal terms.
type RenewalRequest struct {
	Until        string `json:"until" doc:"How long the amount must stay held. RFC 3339, or a local time with time_zone. In a change, an empty string ends the renewals" example:"2026-12-24T11:00:00+01:00"`
	MaxAmount    int64  `json:"max_amount,omitempty" doc:"The most that the cardholder agreed to, in minor units. No renewal authorizes more. Default: the amount of the hold"`
	MaxRenewals  int64  `json:"max_renewals,omitempty" doc:"Default: 12"`
	OnFailure    string `json:"on_failure,omitempty" doc:"What to do near the deadline with a hold that could not be renewed: alert (default), cancel or capture"`
	ReleaseFirst bool   `json:"release_first,omitempty" doc:"If the card lacks funds while the old authorization stands, release that one before the new one is confirmed. The amount is not held in between"`

	recovered bool // the terms are those of an intent's metadata, accepted before
}

// Limits of renewal terms.
const (
	MaxRenewalAhead = 400 * 24 * time.Hour
	maxMaxRenewals  = 100
)

// parseTerms checks the terms. An until that has passed since it was accepted
// ends the renewals.
func (q *RenewalRequest) parseTerms(
	zone string, amount int64, now time.Time,
) (RenewalTerms, error) {
	t := RenewalTerms{MaxAmount: q.MaxAmount,
		MaxRenewals: uint32(cmp.Or(q.MaxRenewals, DefaultMaxRenewals)), OnFailure: PolicyAlert,
		ReleaseFirst: q.ReleaseFirst}
	var err error
	if t.Until, err = ParseTime("renewal.until", q.Until, zone); err != nil {
		return t, err
	}
	switch {
	case !q.recovered && !t.Until.After(now):
		return t, newProblem(InThePast, "renewal.until", "%s is in the past", q.Until)
	case t.Until.After(now.Add(MaxRenewalAhead)):
		return t, newProblem(InvalidTime, "renewal.until", "%s is more than %d days ahead", q.Until,
			int(MaxRenewalAhead.Hours()/24))
	case q.MaxAmount < 0 || q.MaxAmount > 0 && q.MaxAmount < amount:
		return t, newProblem(InvalidAmount, "renewal.max_amount",
			"invalid max_amount %d: want the amount of the hold or more, in minor units",
			q.MaxAmount)
	case q.MaxRenewals < 0 || q.MaxRenewals > maxMaxRenewals:
		return t, newProblem(InvalidField, "renewal.max_renewals",
			"invalid max_renewals %d: want 1 to %d", q.MaxRenewals, maxMaxRenewals)
	}
	if q.OnFailure != "" {
		p, ok := ParseExpiryPolicy(q.OnFailure)
		if !ok {
			return t, newProblem(InvalidPolicy, "renewal.on_failure",
				"invalid on_failure %.40q: want alert, cancel or capture", q.OnFailure)
		}
		t.OnFailure = p
	}
	return t, nil
}

// newIdleRenewal returns the renewal of a new hold.
func newIdleRenewal(t RenewalTerms) *Renewal {
	return &Renewal{RenewalTerms: t, Step: RenewalIdle}
}

// applyTo sets the renewal terms of a hold, or ends its renewals.
func (q *RenewalRequest) applyTo(h *Hold, zone string, now time.Time) error {
	if h.CancelWanted {
		return cancelAcceptedProblem(h, "renew")
	}
	if q.Until == "" {
		if h.Renewal == nil {
			return nil
		}
		r := unshareRenewal(h)
		r.RenewalTerms = RenewalTerms{}
		if !mayHaveSecondAuthorization(h) && r.Completed == 0 {
			h.Renewal = nil
		}
		return nil
	}
	t, err := q.parseTerms(zone, h.Amount, now)
	if err != nil {
		return err
	}
	if h.Renewal == nil {
		h.Renewal = newIdleRenewal(t)
		return nil
	}
	r := unshareRenewal(h)
	r.RenewalTerms = t
	if r.Step == RenewalFailed {
		r.Step, r.Problem, r.RetryAt = RenewalIdle, 0, time.Time{}
	}
	return nil
}

// renewalTermsOf returns the renewal terms of a hold, zero without any.
func renewalTermsOf(h *Hold) RenewalTerms {
	if h.Renewal == nil {
		return RenewalTerms{}
	}
	return h.Renewal.RenewalTerms
}

func (t RenewalTerms) equal(other RenewalTerms) bool {
	return t.Until.Equal(other.Until) && t.MaxAmount == other.MaxAmount &&
		t.MaxRenewals == other.MaxRenewals && t.OnFailure == other.OnFailure &&
		t.ReleaseFirst == other.ReleaseFirst
}

// checkIntentRenewable refuses renewal terms for an intent that cannot be renewed.
func checkIntentRenewable(in *PaymentIntent) error {
	if cause, reason := reasonIntentNotRenewable(in); cause != 0 {
		return newProblem(NotRenewable, "renewal", "cannot renew %s: %s", in.ID, reason)
	}
	return nil
}

// applyIntentToNewHold sets what the intent says of a new hold. Errors are
// *[Problem].
func applyIntentToNewHold(h *Hold, valid *ValidRequest, in *PaymentIntent, now time.Time) error {
	if h.Renewal != nil && !valid.FromMetadata {
		if err := checkIntentRenewable(in); err != nil {
			return err
		}
	}
	if valid.FromMetadata {
		rebuildFromRenewalIntent(h, in, now)
	}
	updateFromHeldIntent(h, in, now)
	if r := h.Renewal; r != nil && r.MaxAmount > 0 && r.MaxAmount < h.Amount && !valid.FromMetadata {
		return newProblem(InvalidAmount, "renewal.max_amount",
			"invalid max_amount %s: the hold is of %s", FormatAmount(r.MaxAmount, h.Currency),
			FormatAmount(h.Amount, h.Currency))
	}
	return nil
}

// Keys of the renewal terms in a PaymentIntent's metadata.
const (
	MetaRenewalUntil       = "holdd_renewal_until"
	MetaRenewalMaxAmount   = "holdd_renewal_max_amount"
	MetaRenewalMaxRenewals = "holdd_renewal_max_renewals"
	MetaRenewalOnFailure   = "holdd_renewal_on_failure"
	// MetaRenewalReleaseFirst is true, or absent.
	MetaRenewalReleaseFirst = "holdd_renewal_release_first"
)

// readRenewalMetadata reads the renewal terms, nil without any.
func readRenewalMetadata(m map[string]string) (*RenewalRequest, error) {
	if m[MetaRenewalUntil] == "" {
		return nil, nil
	}
	q := &RenewalRequest{recovered: true, Until: m[MetaRenewalUntil],
		OnFailure: m[MetaRenewalOnFailure], ReleaseFirst: m[MetaRenewalReleaseFirst] == "true"}
	var err error
	if q.MaxAmount, err = parseMetadataAmount(MetaRenewalMaxAmount,
		m[MetaRenewalMaxAmount]); err != nil {
		return nil, err
	}
	if s := m[MetaRenewalMaxRenewals]; s != "" {
		if q.MaxRenewals, err = strconv.ParseInt(s, 10, 32); err != nil {
			return nil, newProblem(InvalidField, MetaRenewalMaxRenewals,
				"invalid max_renewals %.40q: want 1 to %d", s, maxMaxRenewals)
		}
	}
	return q, nil
}

// writeRenewalMetadata adds the renewal terms to m.
func writeRenewalMetadata(m map[string]string, t RenewalTerms) {
	if t.Until.IsZero() {
		return
	}
	m[MetaRenewalUntil] = t.Until.UTC().Format(time.RFC3339Nano)
	if t.MaxAmount > 0 {
		m[MetaRenewalMaxAmount] = strconv.FormatInt(t.MaxAmount, 10)
	}
	if t.MaxRenewals != DefaultMaxRenewals {
		m[MetaRenewalMaxRenewals] = strconv.FormatUint(uint64(t.MaxRenewals), 10)
	}
	if t.OnFailure != PolicyAlert {
		m[MetaRenewalOnFailure] = t.OnFailure.String()
	}
	if t.ReleaseFirst {
		m[MetaRenewalReleaseFirst] = "true"
	}
}

// RenewalView is a hold's renewal as the API, events and the command line show
// it.
type RenewalView struct {
	Until       *time.Time `json:"until,omitempty" doc:"How long the amount stays held"`
	MaxAmount   int64      `json:"max_amount,omitempty"`
	MaxRenewals uint32     `json:"max_renewals,omitempty"`
	OnFailure   string     `json:"on_failure,omitempty" enum:"alert,cancel,capture"`

	Step          string     `json:"step" enum:"idle,create,confirm,requires_action,failed,find,release_first" doc:"What the renewal does next"`
	Completed     uint32     `json:"completed,omitempty" doc:"How often the hold was renewed"`
	StartsAt      *time.Time `json:"starts_at,omitempty" doc:"When the next renewal begins"`
	PaymentIntent string     `json:"payment_intent,omitempty" doc:"The new intent while it does not hold the money yet"`
	Amount        int64      `json:"amount,omitempty" doc:"What the new intent authorizes"`
	Problem       string     `json:"problem,omitempty" doc:"Why the hold cannot be renewed, or why its cardholder is needed"`
	DeclineCode   string     `json:"decline_code,omitempty" doc:"Of the last decline"`
	ActBefore     *time.Time `json:"act_before,omitempty" doc:"Until when the cardholder can act"`
	ActionNeeded  string     `json:"action_needed,omitempty" enum:"authentication,card" doc:"What the cardholder must do: authenticate with the bank, or give another card"`

	ReleaseFirst bool `json:"release_first,omitempty"`
	Unprotected  bool `json:"unprotected,omitempty" doc:"The old authorization is released, and the new one does not hold the money yet"`

	Releasing       string     `json:"releasing,omitempty" doc:"The intent that is released because another one holds the money"`
	DoubleHeldSince *time.Time `json:"double_held_since,omitempty" doc:"Since when both may hold money"`
}

func newRenewalView(h *Hold) *RenewalView {
	r := h.Renewal
	if r == nil || r.Until.IsZero() && r.Completed == 0 && !mayHaveSecondAuthorization(h) {
		return nil
	}
	v := &RenewalView{Until: optionalTime(r.Until), MaxAmount: r.MaxAmount,
		MaxRenewals: r.MaxRenewals, Step: r.Step.String(), Completed: r.Completed,
		PaymentIntent: r.Intent, DeclineCode: r.DeclineCode, Releasing: r.Releasing,
		ReleaseFirst: r.ReleaseFirst, Unprotected: r.Unprotected,
		DoubleHeldSince: optionalTime(r.ReleasingSince)}
	if r.OnFailure != 0 {
		v.OnFailure = r.OnFailure.String()
	}
	if r.Problem != 0 {
		v.Problem = r.Problem.String()
	}
	switch {
	case r.Step == RenewalCreate || r.Step == RenewalConfirm || r.Step == RenewalReleaseFirst:
		v.Amount = r.Amount
	case r.Step == RenewalRequiresAction:
		v.Amount, v.ActBefore = r.Amount, optionalTime(h.ExpiresAt)
		if v.ActionNeeded = "authentication"; needsOtherCard(r) {
			v.ActionNeeded = "card"
		}
	case r.Step == RenewalIdle && needsRenewal(h) && !r.AuthorizedAt.IsZero():
		v.StartsAt = optionalTime(renewalStartTime(h))
	}
	return v
}

// rebuildFromRenewalIntent makes a hold that is rebuilt from a renewal's intent
// the hold that the metadata names. The intent that was replaced is released,
// if it is one of this hold.
func rebuildFromRenewalIntent(h *Hold, in *PaymentIntent, now time.Time) {
	if OwnerOfIntent(in) == in.ID {
		return
	}
	h.ID = OwnerOfIntent(in)
	if h.Renewal == nil {
		h.Renewal = newIdleRenewal(RenewalTerms{})
	}
	r := unshareRenewal(h)
	r.Generation = renewalGenerationOfIntent(in)
	r.Completed = r.Generation // at most: increments and failed tries count here as well
	if n, err := strconv.ParseUint(in.Metadata[MetaRenewals], 10, 16); err == nil {
		r.Completed = min(r.Completed, uint32(n))
	}
	replaced := in.Metadata[MetaReplaces]
	if replaced != in.ID && CheckPaymentIntentID(replaced) == nil {
		scheduleIntentRelease(r, replaced, now)
		r.ReleaseRead = true // metadata names it: whose it is must be read first
	}
}
