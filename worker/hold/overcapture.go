package hold

// maxCaptureTotal returns the most that may be captured of the hold in all: what
// is authorized, or what the charge allows beyond it (overcapture).
func maxCaptureTotal(h *Hold) int64 {
	total := AuthorizedTotal(h)
	if h.Amount > 0 && h.Features&FeatureOvercapture != 0 {
		return max(total, h.MaxCapturable)
	}
	return total
}

// checkHoldCaptureAmount compares the total to capture with the authorized
// amount, if that is known, and with what the charge allows beyond it. Errors
// are *[Problem].
func checkHoldCaptureAmount(h *Hold) error {
	if err := checkAmount("capture_amount", h.CaptureAmount, h.Currency); err != nil {
		return err
	}
	authorized, most := AuthorizedTotal(h), maxCaptureTotal(h)
	switch {
	case authorized > 0 && h.CaptureAmount > authorized && mayHaveRenewalIntents(h):
		// A renewal requests no overcapture, and the cardholder agreed to max_amount.
		return newProblem(ConflictingTerms, "capture_amount", "%s is more than the authorized %s, "+
			"and a renewed hold is captured up to its amount: end the renewals first, or "+
			"increment the hold", FormatAmount(h.CaptureAmount, h.Currency),
			FormatAmount(authorized, h.Currency))
	case authorized <= 0 || h.CaptureAmount <= most:
		return nil
	}
	hint := "the charge was not read at Stripe yet"
	switch {
	case most > authorized:
		return newProblem(AmountTooLarge, "capture_amount",
			"%s is more than the %s that the charge allows to capture (overcapture)",
			FormatAmount(h.CaptureAmount, h.Currency), FormatAmount(most, h.Currency))
	case h.Features&FeaturesKnown != 0:
		hint = "its charge says that overcapture is unavailable"
	}
	return newProblem(AmountTooLarge, "capture_amount", "%s is more than the authorized %s: %s",
		FormatAmount(h.CaptureAmount, h.Currency), FormatAmount(authorized, h.Currency), hint)
}

// MaxCaptureAmount returns the most that a capture of h can take, in minor units.
func MaxCaptureAmount(h *Hold) int64 { return maxCaptureTotal(h) - capturedSoFar(h) }
