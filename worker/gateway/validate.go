package gateway

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holdd/holdd/worker/hold"
)

const (
	// maxIdempotencyKeyLen is Stripe's limit, in characters.
	maxIdempotencyKeyLen = 255
	// maxPageSize is Stripe's limit for one page of a list.
	maxPageSize = 100

	// Stripe's limits for metadata, in pairs and characters.
	maxMetadataPairs    = 50
	maxMetadataKeyLen   = 40
	maxMetadataValueLen = 500
)

// validateCall returns an error if a call is invalid. It quotes no id, because
// an invalid id may be a client secret.
func validateCall(c *hold.Call) error {
	switch c.Op {
	case hold.OpCapture:
		return validateCaptureCall(c)
	case hold.OpCancel:
		reasons := hold.CancellationReasons()
		if err := validateIntentAccountAndKey(c); err != nil {
			return err
		}
		if !slices.Contains(reasons, c.CancellationReason) {
			return fmt.Errorf("invalid cancellation reason %.40q: want one of %s",
				c.CancellationReason, strings.Join(reasons, ", "))
		}
		return nil
	case hold.OpIncrement:
		return validateIncrementCall(c)
	case hold.OpRead:
		return validateIntentAndAccount(c)
	case hold.OpAuthorize:
		return validateAuthorizeCall(c)
	case hold.OpCreate:
		if c.Authorize != nil && c.Authorize.Customer == "" {
			return errors.New("a renewal needs a customer")
		}
		return validateAuthorizeCall(c)
	case hold.OpConfirm:
		if c.Authorize == nil {
			return errors.New("missing parameters of the confirmation")
		}
		return validateIntentAccountAndKey(c)
	case hold.OpSetUpCard, hold.OpReadCardSetup:
		return validateCardSetupCall(c)
	case hold.OpUpdate:
		if len(c.Metadata) == 0 {
			return errors.New("an update needs at least one pair of metadata")
		}
		if err := validateIntentAccountAndKey(c); err != nil {
			return err
		}
		return validateMetadata(c.Metadata)
	case hold.OpList:
		return validateListCall(c)
	case hold.OpCheck:
		return nil
	}
	return fmt.Errorf("unknown operation %d", c.Op)
}

// validateCaptureCall returns an error if a capture is invalid.
func validateCaptureCall(c *hold.Call) error {
	if c.Amount < 0 {
		return fmt.Errorf("invalid capture amount %d: want 1 or more, 0 for all", c.Amount)
	}
	if c.ReleaseRest && c.Amount != 0 {
		return errors.New("invalid capture amount: a capture that releases the rest has none")
	}
	if c.KeepRest && c.Amount == 0 {
		return errors.New("missing capture amount: a capture that keeps the rest names one")
	}
	if err := validateIntentAccountAndKey(c); err != nil {
		return err
	}
	return validateMetadata(c.CaptureParams.CaptureMetadata)
}

// validateIntentAndAccount checks the intent and the account of a call.
func validateIntentAndAccount(c *hold.Call) error {
	if hold.CheckPaymentIntentID(c.PaymentIntent) != nil {
		return errors.New("invalid PaymentIntent id")
	}
	return validateAccount(c)
}

func validateAccount(c *hold.Call) error {
	if hold.CheckAccountID(c.Account) != nil {
		return errors.New("invalid account id")
	}
	return nil
}

// validateIntentAccountAndKey checks the intent, the account and the
// idempotency key of a call.
func validateIntentAccountAndKey(c *hold.Call) error {
	if err := validateIntentAndAccount(c); err != nil {
		return err
	}
	return validateIdempotencyKey(c.Key)
}

func validateIdempotencyKey(key string) error {
	notVisible := func(r rune) bool { return r <= ' ' || r > '~' }
	switch {
	case key == "":
		return errors.New("missing idempotency key: a retry without one could capture twice")
	case len(key) > maxIdempotencyKeyLen || strings.ContainsFunc(key, notVisible):
		return fmt.Errorf("invalid idempotency key: want 1 to %d visible ASCII characters",
			maxIdempotencyKeyLen)
	}
	return nil
}

func validateAuthorizeCall(c *hold.Call) error {
	if err := validateAccount(c); err != nil {
		return err
	}
	if err := validateIdempotencyKey(c.Key); err != nil {
		return err
	}
	au := c.Authorize
	if au == nil || au.Amount <= 0 || au.PaymentMethod == "" || !isCurrencyCode(au.Currency) {
		return errors.New("an authorization needs an amount, a currency and a payment method")
	}
	return validateMetadata(au.Metadata)
}

func validateListCall(c *hold.Call) error {
	switch {
	case c.Limit < 0 || c.Limit > maxPageSize:
		return fmt.Errorf("invalid page size %d: want 1 to %d", c.Limit, maxPageSize)
	case c.Content > hold.ContentPlainCharges:
		return fmt.Errorf("unknown content %d of a list", c.Content)
	case c.Content == hold.ContentCaptures:
		if c.After != "" && !eventIDPattern.matches(c.After) {
			return errors.New("invalid event id to list after")
		}
	case c.Content == hold.ContentPlainHistories, c.Content == hold.ContentPlainCharges:
		if c.After != "" && validObjectIDOrEmpty(c.After) == "" {
			return errors.New("invalid charge id to list after")
		}
	case c.After != "" && hold.CheckPaymentIntentID(c.After) != nil:
		return errors.New("invalid PaymentIntent id to list after")
	}
	return validateAccount(c)
}

// validateMetadata checks pairs of metadata against Stripe's limits. In a key,
// brackets would make it another parameter.
func validateMetadata(m map[string]string) error {
	if len(m) > maxMetadataPairs {
		return fmt.Errorf("invalid metadata: %d pairs, want at most %d", len(m), maxMetadataPairs)
	}
	for k, v := range m {
		if k == "" || !isUTF8Within(maxMetadataKeyLen, k) || strings.ContainsAny(k, "[]") {
			return fmt.Errorf("invalid metadata key: want 1 to %d characters without brackets",
				maxMetadataKeyLen)
		}
		if !isUTF8Within(maxMetadataValueLen, v) {
			return fmt.Errorf("invalid metadata value: want at most %d characters of UTF-8",
				maxMetadataValueLen)
		}
	}
	return nil
}

// isUTF8Within reports whether s is UTF-8 of at most n characters.
func isUTF8Within(n int, s string) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= n
}

// validateIncrementCall returns an error if an increment is invalid.
func validateIncrementCall(c *hold.Call) error {
	if c.Amount <= 0 {
		return fmt.Errorf("invalid amount %d of an increment: want the new total", c.Amount)
	}
	return validateIntentAccountAndKey(c)
}
