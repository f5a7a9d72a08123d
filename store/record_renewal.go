package store

import (
	"time"

	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of a renewal.
const (
	renewalUntil = iota + 1
	renewalMaxAmount
	renewalMaxRenewals
	renewalOnFailure
	renewalCustomer
	renewalPaymentMethod
	renewalAuthorizedAt
	renewalCompleted
	renewalGeneration
	renewalStep
	renewalIntent
	renewalAmount
	renewalMetadata
	renewalConfirmation
	renewalSentCount
	renewalSentFirstAt
	renewalFlags
	renewalSearchAfter
	renewalRetryAt
	renewalProblem
	renewalDeclineCode
	renewalDecline
	renewalReleasing
	renewalReleasingSince
	renewalReleaseTry
	renewalReleasedCount
	renewalReleasedFirstAt
	renewalIncrementTo
	renewalIncrementUntil
	renewalDeclinedCard
	renewalNeverAgain
	renewalReturnURL
	renewalCardSetup
	renewalCardSetups
	renewalAdviceCode
	renewalNetworkAdviceCode
	renewalConfirmAt
	lastRenewalField = renewalConfirmAt
)

const (
	renewalSentUnknown = 1 << iota
	renewalReadFirst
	renewalReleasedUnknown
	renewalReleaseRead
	renewalExchanged
	renewalOwnEnded
	renewalReleaseFirst
	renewalUnprotected
	renewalReplaced
)

// appendRenewal appends the renewal of h, if it has one.
func appendRenewal(b []byte, h *hold.Hold) []byte {
	if deadline := hold.DeadlineForQueueOrder(h); !deadline.Equal(h.ExpiresAt) {
		b = appendNumberField(b, fieldExpiresAt, toMillis(h.ExpiresAt))
	}
	r := h.Renewal
	if r == nil {
		return b
	}
	var m []byte
	m = appendNumberField(m, renewalUntil, toMillis(r.Until))
	m = appendNumberField(m, renewalMaxAmount, uint64(r.MaxAmount))
	m = appendNumberField(m, renewalMaxRenewals, uint64(r.MaxRenewals))
	m = appendNumberField(m, renewalOnFailure, uint64(r.OnFailure))
	m = appendTextField(m, renewalCustomer, r.Customer)
	m = appendTextField(m, renewalPaymentMethod, r.PaymentMethod)
	m = appendNumberField(m, renewalAuthorizedAt, toMillis(r.AuthorizedAt))
	m = appendNumberField(m, renewalCompleted, uint64(r.Completed))
	m = appendNumberField(m, renewalGeneration, uint64(r.Generation))
	m = appendNumberField(m, renewalStep, uint64(r.Step))
	m = appendTextField(m, renewalIntent, r.Intent)
	m = appendNumberField(m, renewalAmount, uint64(r.Amount))
	m = appendMapField(m, renewalMetadata, r.Metadata)
	m = appendNumberField(m, renewalConfirmation, uint64(r.Confirmation))
	m = appendNumberField(m, renewalSentCount, uint64(r.Sent.Count))
	m = appendNumberField(m, renewalSentFirstAt, toMillis(r.Sent.FirstAt))
	m = appendNumberField(m, renewalFlags, encodeRenewalFlags(r))
	m = appendTextField(m, renewalSearchAfter, r.SearchAfter)
	m = appendNumberField(m, renewalRetryAt, toMillis(r.RetryAt))
	m = appendNumberField(m, renewalProblem, uint64(r.Problem))
	m = appendTextField(m, renewalDeclineCode, r.DeclineCode)
	for _, t := range r.Declines {
		m = appendNumberField(m, renewalDecline, toMillis(t))
	}
	m = appendTextField(m, renewalReleasing, r.Releasing)
	m = appendNumberField(m, renewalReleasingSince, toMillis(r.ReleasingSince))
	m = appendNumberField(m, renewalReleaseTry, uint64(r.ReleaseTry))
	m = appendNumberField(m, renewalReleasedCount, uint64(r.ReleaseKeyUsage.Count))
	m = appendNumberField(m, renewalReleasedFirstAt, toMillis(r.ReleaseKeyUsage.FirstAt))
	m = appendNumberField(m, renewalIncrementTo, uint64(r.IncrementTo))
	m = appendNumberField(m, renewalIncrementUntil, toMillis(r.IncrementUntil))
	m = appendTextField(m, renewalDeclinedCard, r.DeclinedCard)
	m = appendTextField(m, renewalNeverAgain, r.NeverAgain)
	m = appendTextField(m, renewalReturnURL, r.ReturnURL)
	m = appendTextField(m, renewalCardSetup, r.CardSetup)
	m = appendNumberField(m, renewalCardSetups, uint64(r.CardSetups))
	m = appendTextField(m, renewalAdviceCode, r.Advice.Code)
	m = appendTextField(m, renewalNetworkAdviceCode, r.Advice.NetworkCode)
	m = appendNumberField(m, renewalConfirmAt, toMillis(r.ConfirmAt))
	m = append(m, r.Unknown.Fields...)
	return appendBytesField(b, fieldRenewal, m)
}

// encodeRenewalFlags returns the flags of a renewal, with those that this
// version does not know.
func encodeRenewalFlags(r *hold.Renewal) uint64 {
	return flagOrZero(renewalSentUnknown, r.Sent.Unknown) |
		flagOrZero(renewalReadFirst, r.ReadFirst) |
		flagOrZero(renewalReleasedUnknown, r.ReleaseKeyUsage.Unknown) |
		flagOrZero(renewalReleaseRead, r.ReleaseRead) |
		flagOrZero(renewalExchanged, r.Exchanged) |
		flagOrZero(renewalOwnEnded, r.OwnEnded) |
		flagOrZero(renewalReleaseFirst, r.ReleaseFirst) |
		flagOrZero(renewalUnprotected, r.Unprotected) |
		flagOrZero(renewalReplaced, r.Replaced) | r.Unknown.Flags
}

func decodeRenewal(b []byte) (*hold.Renewal, error) {
	r := &hold.Renewal{}
	err := forEachRecordField(b, func(f decodedRecordField) error {
		switch {
		case f.num == renewalMetadata:
			return decodeMapEntry(&r.Metadata, f.bytes)
		case f.num > lastRenewalField:
			r.Unknown.Fields += string(f.raw)
			return nil
		}
		setRenewalText(r, f.num, string(f.bytes))
		setRenewalTime(r, f.num, fromMillis(f.n))
		setRenewalNumber(r, f.num, f.n)
		return nil
	})
	return r, err
}

func setRenewalText(r *hold.Renewal, f protowire.Number, s string) {
	switch f {
	case renewalCustomer:
		r.Customer = s
	case renewalPaymentMethod:
		r.PaymentMethod = s
	case renewalIntent:
		r.Intent = s
	case renewalSearchAfter:
		r.SearchAfter = s
	case renewalDeclineCode:
		r.DeclineCode = s
	case renewalReleasing:
		r.Releasing = s
	case renewalDeclinedCard:
		r.DeclinedCard = s
	case renewalNeverAgain:
		r.NeverAgain = s
	case renewalReturnURL:
		r.ReturnURL = s
	case renewalCardSetup:
		r.CardSetup = s
	case renewalAdviceCode:
		r.Advice.Code = s
	case renewalNetworkAdviceCode:
		r.Advice.NetworkCode = s
	}
}

func setRenewalTime(r *hold.Renewal, f protowire.Number, t time.Time) {
	switch f {
	case renewalUntil:
		r.Until = t
	case renewalAuthorizedAt:
		r.AuthorizedAt = t
	case renewalSentFirstAt:
		r.Sent.FirstAt = t
	case renewalRetryAt:
		r.RetryAt = t
	case renewalDecline:
		r.Declines = append(r.Declines, t)
	case renewalReleasingSince:
		r.ReleasingSince = t
	case renewalReleasedFirstAt:
		r.ReleaseKeyUsage.FirstAt = t
	case renewalIncrementUntil:
		r.IncrementUntil = t
	case renewalConfirmAt:
		r.ConfirmAt = t
	}
}

func setRenewalNumber(r *hold.Renewal, f protowire.Number, n uint64) {
	switch f {
	case renewalMaxAmount:
		r.MaxAmount = int64(n)
	case renewalMaxRenewals:
		r.MaxRenewals = uint32(n)
	case renewalOnFailure:
		r.OnFailure = hold.ExpiryPolicy(n)
	case renewalCompleted:
		r.Completed = uint32(n)
	case renewalGeneration:
		r.Generation = uint32(n)
	case renewalStep:
		r.Step = hold.RenewalStep(n)
	case renewalAmount:
		r.Amount = int64(n)
	case renewalConfirmation:
		r.Confirmation = uint32(n)
	case renewalSentCount:
		r.Sent.Count = uint32(n)
	case renewalFlags:
		r.Sent.Unknown, r.ReadFirst = n&renewalSentUnknown != 0, n&renewalReadFirst != 0
		r.ReleaseKeyUsage.Unknown = n&renewalReleasedUnknown != 0
		r.ReleaseRead, r.Exchanged = n&renewalReleaseRead != 0, n&renewalExchanged != 0
		r.OwnEnded, r.Replaced = n&renewalOwnEnded != 0, n&renewalReplaced != 0
		r.ReleaseFirst, r.Unprotected = n&renewalReleaseFirst != 0, n&renewalUnprotected != 0
		r.Unknown.Flags = n &^ (renewalReplaced<<1 - 1)
	case renewalProblem:
		r.Problem = hold.Cause(n)
	case renewalReleaseTry:
		r.ReleaseTry = uint32(n)
	case renewalReleasedCount:
		r.ReleaseKeyUsage.Count = uint32(n)
	case renewalIncrementTo:
		r.IncrementTo = int64(n)
	case renewalCardSetups:
		r.CardSetups = uint32(n)
	}
}
