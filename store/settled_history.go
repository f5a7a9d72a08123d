package store

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
)

// Most records are of settled holds, and most of such a record is its history.
// It therefore has short forms of the fields of an entry. Their numbers follow
// those of history.go.
const (
	entryPacked        = iota + entryNote + 1 // several fields with small values, see packEntry
	entryBeforeEnd                            // ms before the settlement plus 1, instead of entryAfter
	entryKeyDigest                            // 8 bytes, instead of entryKey
	entryKeyGeneration                        // minus 1
	entryRequestSuffix                        // without requestIDPrefix, instead of entryRequestID
)

// senders are frequent values of HistoryEntry.By. Records have their indexes
// plus 1, so their order must not change.
var senders = []string{"holdd", "api", "stripe", "inbox", "cli"}

// requestIDPrefix begins the ids that Stripe gives to requests.
const requestIDPrefix = "req_"

// encodeSettledEntry is encodeHistoryEntry for the settled hold h.
func encodeSettledEntry(h *hold.Hold, e hold.HistoryEntry, last time.Time) []byte {
	b := make([]byte, 0, 64)
	if digest, generation, ok := splitIdempotencyKey(h.ID, e.Op, e.Key); ok {
		e.Key = ""
		b = appendRepeatedField(b, entryKeyDigest, digest)
		b = appendNumberField(b, entryKeyGeneration, uint64(generation-1))
	}
	if suffix, ok := strings.CutPrefix(e.RequestID, requestIDPrefix); ok {
		e.RequestID = ""
		b = appendRepeatedField(b, entryRequestSuffix, []byte(suffix))
	}
	after := protowire.EncodeZigZag(int64(toMillis(e.At)) - int64(toMillis(last)))
	beforeEnd := protowire.EncodeZigZag(int64(toMillis(h.SettledAt))-int64(toMillis(e.At))) + 1
	if beforeEnd < after {
		e.At = last // makes entryAfter zero, which is not written
		b = appendNumberField(b, entryBeforeEnd, beforeEnd)
	}
	b = appendNumberField(b, entryPacked, packEntry(&e))
	return append(encodeHistoryEntry(&e, last), b...)
}

// packedValues are the values in entryPacked, lowest bits first.
var packedValues = []struct {
	bits int
	get  func(*hold.HistoryEntry) uint64
	set  func(*hold.HistoryEntry, uint64)
}{
	{4, func(e *hold.HistoryEntry) uint64 { return uint64(e.Kind) },
		func(e *hold.HistoryEntry, n uint64) { e.Kind = hold.HistoryKind(n) }},
	{3, func(e *hold.HistoryEntry) uint64 { return uint64(slices.Index(senders, e.By) + 1) },
		func(e *hold.HistoryEntry, n uint64) { e.By = senderOf(n) }},
	{5, func(e *hold.HistoryEntry) uint64 { return uint64(e.Cause) },
		func(e *hold.HistoryEntry, n uint64) { e.Cause = hold.Cause(n) }},
	{4, func(e *hold.HistoryEntry) uint64 { return uint64(e.Op) },
		func(e *hold.HistoryEntry, n uint64) { e.Op = hold.Op(n) }},
	{5, func(e *hold.HistoryEntry) uint64 { return uint64(e.Answer) },
		func(e *hold.HistoryEntry, n uint64) { e.Answer = hold.AnswerKind(n) }},
}

// senderOf returns the sender with a number from 1, "" for an unknown one.
func senderOf(n uint64) string {
	if n == 0 || n > uint64(len(senders)) {
		return ""
	}
	return senders[n-1]
}

// packEntry removes values from the entry and returns them as entryPacked. A
// value that needs more bits than it has there stays in the entry.
func packEntry(e *hold.HistoryEntry) (packed uint64) {
	shift := 0
	for _, v := range packedValues {
		if n := v.get(e); n > 0 && n < 1<<v.bits {
			packed |= n << shift
			v.set(e, 0)
		}
		shift += v.bits
	}
	return packed
}

// unpackEntry is the inverse of packEntry.
func unpackEntry(e *hold.HistoryEntry, packed uint64) {
	for _, v := range packedValues {
		if n := packed & (1<<v.bits - 1); n > 0 {
			v.set(e, n)
		}
		packed >>= v.bits
	}
}

// settledEntryDecoder collects the short forms of an entry while it is decoded.
type settledEntryDecoder struct {
	beforeEnd  uint64
	digest     []byte
	generation uint32
}

// setField sets a field that has a short form.
func (s *settledEntryDecoder) setField(
	e *hold.HistoryEntry, f protowire.Number, n uint64, v []byte,
) {
	switch f {
	case entryPacked:
		unpackEntry(e, n)
	case entryBeforeEnd:
		s.beforeEnd = n
	case entryKeyDigest:
		s.digest = v
	case entryKeyGeneration:
		s.generation = uint32(n)
	case entryRequestSuffix:
		e.RequestID = requestIDPrefix + string(v)
	}
}

// finish sets the fields that depend on others.
func (s *settledEntryDecoder) finish(e *hold.HistoryEntry, h *hold.Hold) {
	if s.digest != nil {
		e.Key = formatIdempotencyKey(h.ID, e.Op, s.digest, s.generation+1)
	}
	if s.beforeEnd > 0 {
		end := int64(toMillis(h.SettledAt))
		e.At = fromMillis(uint64(end - protowire.DecodeZigZag(s.beforeEnd-1)))
	}
}

// splitIdempotencyKey returns the parts of a key that do not follow from its
// hold and operation. ok is false for a key of another form.
func splitIdempotencyKey(
	id string, op hold.Op, key string,
) (digest []byte, generation uint32, ok bool) {
	rest, ok := strings.CutPrefix(key, idempotencyKeyPrefix(id, op))
	if !ok {
		return nil, 0, false
	}
	digestText, generationText, _ := strings.Cut(rest, "-")
	digest, digestErr := hex.DecodeString(digestText)
	n, generationErr := strconv.ParseUint(generationText, 10, 32)
	if digestErr != nil || generationErr != nil || len(digest) != 8 || n == 0 ||
		formatIdempotencyKey(id, op, digest, uint32(n)) != key {
		return nil, 0, false
	}
	return digest, uint32(n), true
}

func formatIdempotencyKey(id string, op hold.Op, digest []byte, generation uint32) string {
	return idempotencyKeyPrefix(id, op) + hex.EncodeToString(digest) + "-" +
		strconv.FormatUint(uint64(generation), 10)
}

func idempotencyKeyPrefix(id string, op hold.Op) string {
	return "holdd-" + id + "-" + op.String() + "-"
}
