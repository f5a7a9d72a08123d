package store

import (
	"encoding/binary"
	"math/big"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
)

// Redis keeps each hold for months, and rounds the size of a record up. The
// record therefore has short forms of frequent values.

// packedValue is a small number that shares a field with others.
type packedValue[T any] struct {
	bits int
	get  func(*T) uint64
	set  func(*T, uint64)
}

// packValues sets values of t to zero and returns them as one number, the first
// in the lowest bits. A value that needs more bits than it has stays in t.
func packValues[T any](t *T, values []packedValue[T]) (packed uint64) {
	shift := 0
	for _, v := range values {
		if n := v.get(t); n > 0 && n < 1<<v.bits {
			packed |= n << shift
			v.set(t, 0)
		}
		shift += v.bits
	}
	return packed
}

// unpackValues is the inverse of packValues. It leaves values that are zero.
func unpackValues[T any](t *T, values []packedValue[T], packed uint64) {
	for _, v := range values {
		if n := packed & (1<<v.bits - 1); n > 0 {
			v.set(t, n)
		}
		packed >>= v.bits
	}
}

// packedBits returns how many bits values have.
func packedBits[T any](values []packedValue[T]) (bits int) {
	for _, v := range values {
		bits += v.bits
	}
	return bits
}

// packAndClearHoldValues returns fieldPacked and sets its values of h to zero.
func packAndClearHoldValues(h *hold.Hold) uint64 {
	later := h.Unknown.Packed << packedBits(packedHoldValues)
	return packValues(h, packedHoldValues) | later
}

// unpackHoldValues is the inverse of packAndClearHoldValues. A currency
// that only a later release has makes the record unreadable.
func unpackHoldValues(h *hold.Hold, packed uint64) error {
	unpackValues(h, packedHoldValues, packed)
	h.Unknown.Packed = packed >> packedBits(packedHoldValues)
	if index := packed >> currencyShift & (1<<currencyBits - 1); index > uint64(len(currencies)) {
		return hold.ErrUnreadableRecord
	}
	return nil
}

// The place of the currency in fieldPacked.
const (
	currencyShift = 8
	currencyBits  = 5
)

// packedHoldValues are the values in fieldPacked. Records have them, so values
// may only be added at the end.
var packedHoldValues = []packedValue[hold.Hold]{
	{currencyShift, encodeHoldFlags, setHoldFlags},
	{currencyBits, func(h *hold.Hold) uint64 { return oneBasedIndexOrZero(currencies, h.Currency) },
		func(h *hold.Hold, n uint64) { h.Currency = textAtOneBasedIndexOrEmpty(currencies, n) }},
	{2, func(h *hold.Hold) uint64 { return uint64(h.ExpiresSource) },
		func(h *hold.Hold, n uint64) { h.ExpiresSource = hold.DeadlineSource(n) }},
	{2, func(h *hold.Hold) uint64 { return uint64(h.Sent.Count) },
		func(h *hold.Hold, n uint64) { h.Sent.Count = uint32(n) }},
	{3, func(h *hold.Hold) uint64 { return h.Revision - 1 },
		func(h *hold.Hold, n uint64) { h.Revision = n + 1 }},
	{5, func(h *hold.Hold) uint64 { return uint64(h.Reason) },
		func(h *hold.Hold, n uint64) { h.Reason = hold.Cause(n) }},
}

// currencies are frequent currencies. Records have their indexes plus 1, so
// their order must not change.
var currencies = []string{
	"eur", "usd", "gbp", "chf", "sek", "nok", "dkk", "pln", "czk", "huf", "ron", "cad", "aud",
	"nzd", "jpy", "sgd", "hkd", "aed", "mxn", "brl", "thb", "inr", "zar", "try",
}

// oneBasedIndexOrZero returns the index of s in list plus 1, 0 if it is not in the
// list.
func oneBasedIndexOrZero(list []string, s string) uint64 { return uint64(slices.Index(list, s) + 1) }

// textAtOneBasedIndexOrEmpty is the inverse of oneBasedIndexOrZero. It returns "" for an unknown
// number.
func textAtOneBasedIndexOrEmpty(list []string, n uint64) string {
	if n == 0 || n > uint64(len(list)) {
		return ""
	}
	return list[n-1]
}

// appendSettlementRelativeTime appends a time, unless it is zero. The times of a settled
// hold are relative to its settlement, which makes small numbers of them.
func appendSettlementRelativeTime(b []byte, h *hold.Hold, f protowire.Number, at time.Time) []byte {
	if !h.State.IsFinal() {
		return appendNumberField(b, f, toMillis(at))
	}
	if toMillis(at) == 0 {
		return b
	}
	before := protowire.EncodeZigZag(int64(toMillis(h.SettledAt) - toMillis(at)))
	return protowire.AppendVarint(protowire.AppendTag(b, f, protowire.VarintType), before)
}

// decodeSettlementRelativeTime decodes what appendSettlementRelativeTime wrote. The header of h is
// decoded.
func decodeSettlementRelativeTime(h *hold.Hold, n uint64) time.Time {
	if !h.State.IsFinal() {
		return fromMillis(n)
	}
	return fromMillis(toMillis(h.SettledAt) - uint64(protowire.DecodeZigZag(n)))
}

// encodeCapturedAmount returns the number in fieldCapturedAmount. That of a
// captured hold is zero if the whole amount was captured.
func encodeCapturedAmount(h *hold.Hold) uint64 {
	if h.State == hold.Captured {
		return protowire.EncodeZigZag(h.Amount - h.CapturedAmount)
	}
	return uint64(h.CapturedAmount)
}

// decodeCapturedAmount is the inverse. The amount of h is decoded.
func decodeCapturedAmount(h *hold.Hold, n uint64) int64 {
	if h.State == hold.Captured {
		return h.Amount - protowire.DecodeZigZag(n)
	}
	return int64(n)
}

const (
	// requestIDPrefix begins the ids that Stripe gives to requests.
	requestIDPrefix = "req_"
	// requestIDDigits is how many digits of base 62 follow it.
	requestIDDigits = 14
	// requestIDBytes is what these digits take as a number.
	requestIDBytes = 11
	// base62Digits are the digits in the order of [math/big.Int.Text].
	base62Digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// packRequestID returns the digits of a request id as a number, big endian. ok
// is false for an id of another form.
func packRequestID(id string) (packed []byte, ok bool) {
	digits, ok := strings.CutPrefix(id, requestIDPrefix)
	if !ok || len(digits) != requestIDDigits {
		return nil, false
	}
	var high, low uint64 // of the number, which has 84 bits
	for i := range len(digits) {
		digit := strings.IndexByte(base62Digits, digits[i])
		if digit < 0 {
			return nil, false
		}
		carry, product := bits.Mul64(low, 62)
		sum, overflow := bits.Add64(product, uint64(digit), 0)
		high, low = high*62+carry+overflow, sum
	}
	packed = binary.BigEndian.AppendUint32(make([]byte, 0, requestIDBytes+1), uint32(high))
	return binary.BigEndian.AppendUint64(packed, low)[1:], true
}

// unpackRequestID is the inverse of packRequestID.
func unpackRequestID(packed []byte) string {
	if len(packed) != requestIDBytes {
		return "" // written by another release
	}
	digits := new(big.Int).SetBytes(packed).Text(62)
	if missing := requestIDDigits - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	return requestIDPrefix + digits
}
