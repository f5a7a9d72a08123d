package store

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
)

// Most records are of settled holds, and most of such a record is its history.
// It therefore has short forms of the fields of an entry. Their numbers follow
// those of history.go. An entry that has only entryPacked is a number in the
// record.
const (
	entryPacked        = iota + entryNote + 1 // see packAndClearHistoryValues
	entryBeforeEnd                            // ms before the settlement plus 1, instead of entryAfter
	entryCallIDs                              // see packAndClearEntryKeyAndRequestID
	entryKeyGeneration                        // minus 1
)

// senders are frequent values of HistoryEntry.By. Records have their indexes
// plus 1, so their order must not change.
var senders = []string{"holdd", "api", "stripe", "inbox", "cli"}

// appendSettledHistoryEntry appends an entry of the settled hold h. last is the time of
// the previous entry, or of the hold's creation.
func appendSettledHistoryEntry(b []byte, h *hold.Hold, e hold.HistoryEntry, last time.Time) []byte {
	rest := make([]byte, 0, 64)
	ids, generation := packAndClearEntryKeyAndRequestID(h.ID, &e) // which needs the operation
	packed := packAndClearHistoryValues(h, &e, last)
	if len(ids) > 0 {
		rest = appendBytesField(rest, entryCallIDs, ids)
		rest = appendNumberField(rest, entryKeyGeneration, uint64(generation-1))
	}
	after := protowire.EncodeZigZag(int64(toMillis(e.At)) - int64(toMillis(last)))
	beforeEnd := protowire.EncodeZigZag(int64(toMillis(h.SettledAt))-int64(toMillis(e.At))) + 1
	if beforeEnd < after {
		e.At = last // makes entryAfter zero, which is not written
		rest = appendNumberField(rest, entryBeforeEnd, beforeEnd)
	}
	rest = append(encodeHistoryEntry(&e, last), rest...)
	if len(rest) == 0 {
		return protowire.AppendVarint(
			protowire.AppendTag(b, fieldHistory, protowire.VarintType), packed)
	}
	return appendBytesField(b, fieldHistory, appendNumberField(rest, entryPacked, packed))
}

const (
	entryAtEnd       = 1 << iota // at the time of the settlement
	entryHoldsReason             // for the reason that the hold has
	entryFlagBits    = iota
)

// packAndClearHistoryValues returns the small values of an entry above its flags, and
// removes them from e.
func packAndClearHistoryValues(h *hold.Hold, e *hold.HistoryEntry, last time.Time) (packed uint64) {
	if e.At.Equal(h.SettledAt) && !e.At.Equal(last) {
		e.At = last
		packed |= entryAtEnd
	}
	if e.Cause == h.Reason && e.Cause != 0 {
		e.Cause = 0
		packed |= entryHoldsReason
	}
	packed |= packValues(e, packedEntryValues) << entryFlagBits
	later := e.Unknown.Packed << (entryFlagBits + packedBits(packedEntryValues))
	return packed | later
}

// packAndClearEntryKeyAndRequestID returns the parts of idempotency key and request id that do not
// follow from the hold, and removes both from e. Their sizes tell them apart.
// generation is 1 if there is no key.
func packAndClearEntryKeyAndRequestID(
	id string,
	e *hold.HistoryEntry,
) (ids []byte, generation uint32) {
	generation = 1
	if digest, n, ok := splitStripeIdempotencyKey(id, e.Op, e.Key); ok {
		e.Key, ids, generation = "", digest, n
	}
	if packed, ok := packRequestID(e.RequestID); ok {
		e.RequestID, ids = "", append(ids, packed...)
	}
	return ids, generation
}

// packedEntryValues are the values in entryPacked.
var packedEntryValues = []packedValue[hold.HistoryEntry]{
	{3, func(e *hold.HistoryEntry) uint64 { return oneBasedIndexOrZero(senders, e.By) },
		func(e *hold.HistoryEntry, n uint64) { e.By = textAtOneBasedIndexOrEmpty(senders, n) }},
	{4, func(e *hold.HistoryEntry) uint64 { return uint64(e.Kind) },
		func(e *hold.HistoryEntry, n uint64) { e.Kind = hold.HistoryKind(n) }},
	{4, func(e *hold.HistoryEntry) uint64 { return uint64(e.Op) },
		func(e *hold.HistoryEntry, n uint64) { e.Op = hold.Op(n) }},
	{5, func(e *hold.HistoryEntry) uint64 { return uint64(e.Answer) },
		func(e *hold.HistoryEntry, n uint64) { e.Answer = hold.AnswerKind(n) }},
	{5, func(e *hold.HistoryEntry) uint64 { return uint64(e.Cause) },
		func(e *hold.HistoryEntry, n uint64) { e.Cause = hold.Cause(n) }},
}

// settledHistoryDecoder collects the short forms of an entry while it is decoded.
type settledHistoryDecoder struct {
	flags      uint64
	beforeEnd  uint64
	digest     []byte
	generation uint32
}

// setField sets a field that has a short form. It reports whether it knows the
// field.
func (s *settledHistoryDecoder) setField(
	e *hold.HistoryEntry, f protowire.Number, n uint64, v []byte,
) (known bool) {
	switch f {
	case entryPacked:
		s.unpackHistoryValues(e, n)
	case entryBeforeEnd:
		s.beforeEnd = n
	case entryCallIDs:
		if len(v) == keyDigestBytes || len(v) == keyDigestBytes+requestIDBytes {
			s.digest, v = v[:keyDigestBytes], v[keyDigestBytes:]
		}
		if len(v) > 0 {
			e.RequestID = unpackRequestID(v)
		}
	case entryKeyGeneration:
		s.generation = uint32(n)
	default:
		return false
	}
	return true
}

// unpackHistoryValues is the inverse of packAndClearHistoryValues.
func (s *settledHistoryDecoder) unpackHistoryValues(e *hold.HistoryEntry, packed uint64) {
	s.flags = packed & (entryAtEnd | entryHoldsReason)
	unpackValues(e, packedEntryValues, packed>>entryFlagBits)
	e.Unknown.Packed = packed >> (entryFlagBits + packedBits(packedEntryValues))
}

// fillDerivedFields sets the fields that depend on others.
func (s *settledHistoryDecoder) fillDerivedFields(e *hold.HistoryEntry, h *hold.Hold) {
	if s.digest != nil {
		e.Key = joinStripeIdempotencyKey(h.ID, e.Op, s.digest, s.generation+1)
	}
	if s.flags&entryHoldsReason != 0 {
		e.Cause = h.Reason
	}
	switch {
	case s.flags&entryAtEnd != 0:
		e.At = h.SettledAt
	case s.beforeEnd > 0:
		end := int64(toMillis(h.SettledAt))
		e.At = fromMillis(uint64(end - protowire.DecodeZigZag(s.beforeEnd-1)))
	}
}

// keyDigestBytes is the size of the digest in an idempotency key.
const keyDigestBytes = 8

// splitStripeIdempotencyKey returns the parts of a key that do not follow from its
// hold and operation. ok is false for a key of another form.
func splitStripeIdempotencyKey(
	id string, op hold.Op, key string,
) (digest []byte, generation uint32, ok bool) {
	rest, ok := strings.CutPrefix(key, stripeIdempotencyKeyPrefix(id, op))
	if !ok {
		return nil, 0, false
	}
	digestText, generationText, _ := strings.Cut(rest, "-")
	digest, digestErr := hex.DecodeString(digestText)
	n, generationErr := strconv.ParseUint(generationText, 10, 32)
	if digestErr != nil || generationErr != nil || len(digest) != keyDigestBytes || n == 0 ||
		joinStripeIdempotencyKey(id, op, digest, uint32(n)) != key {
		return nil, 0, false
	}
	return digest, uint32(n), true
}

func joinStripeIdempotencyKey(id string, op hold.Op, digest []byte, generation uint32) string {
	return stripeIdempotencyKeyPrefix(id, op) + hex.EncodeToString(digest) + "-" +
		strconv.FormatUint(uint64(generation), 10)
}

func stripeIdempotencyKeyPrefix(id string, op hold.Op) string {
	return "holdd-" + id + "-" + op.String() + "-"
}
