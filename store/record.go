package store

import (
	"encoding/binary"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
)

// A record is a header, which scripts read too, and a body, which only Go
// reads. Both are described only in this file: the scripts get the positions in
// the header from headerFields.
//
// A change of the header raises encodingVersion, and decodeRecord must still
// read the old encoding. A record with capture parameters has a version of its
// own: a release that does not know them must not write the record, because it
// would drop them and capture without a fee. It leaves such a record alone. The
// same is true of a requested increment, whose operation it does not know, of a
// renewal, whose second intent would be forgotten, and of captures in parts.
const (
	encodingVersion          = 1
	captureParamsEncoding    = 2
	incrementRenewalEncoding = 3
	stagedEncoding           = 4
	lastEncoding             = stagedEncoding
)

// Offsets in the header, in bytes. Numbers are big endian, times are Unix
// milliseconds.
const (
	encodingOffset      = 0  // encodingVersion
	stateOffset         = 1  // hold.State
	previousStateOffset = 2  // hold.State before the claim
	nextOpOffset        = 3  // hold.Op, 0 for none
	versionOffset       = 4  // fencing token, 6 bytes
	claimedAtOffset     = 10 // when the claim began, or when the hold was settled, 6 bytes
	deadlineOffset      = 16 // hold.Hold.DeadlineForQueueOrder, 6 bytes
	accountSizeOffset   = 22 // length of the account, which follows the header
	headerSize          = 23
)

// headerFields lists the fields of the header in order.
var headerFields = []struct {
	name         string
	offset, size int
}{
	{"ENCODING", encodingOffset, 1},
	{"STATE", stateOffset, 1},
	{"PREVIOUS_STATE", previousStateOffset, 1},
	{"NEXT_OP", nextOpOffset, 1},
	{"VERSION", versionOffset, 6},
	{"CLAIMED_AT", claimedAtOffset, 6},
	{"DEADLINE", deadlineOffset, 6},
	{"ACCOUNT_SIZE", accountSizeOffset, 1},
}

// recordLayoutConstants returns the layout of the header for the scripts. Lua
// counts bytes from 1.
func recordLayoutConstants() []luaConstant {
	out := []luaConstant{
		{"FIRST_ENCODING", encodingVersion},
		{"LAST_ENCODING", lastEncoding},
		{"HEADER_SIZE", headerSize},
		{"STATE_WORKING", int(hold.Working)},
		{"STATE_FIRST_FINAL", int(hold.Captured)},
		{"STATE_LAST_FINAL", int(hold.Expired)},
		{"STATE_LAST", lastStateInRecords},
		{"OP_LAST", int(hold.OpRelease)},
	}
	for _, f := range headerFields {
		if f.size == 1 {
			out = append(out, luaConstant{f.name + "_AT", f.offset + 1})
		} else {
			out = append(out,
				luaConstant{f.name + "_FROM", f.offset + 1},
				luaConstant{f.name + "_TO", f.offset + f.size})
		}
	}
	return out
}

// Field numbers of the body, which is in protobuf's wire format. A release
// keeps unknown fields as they are and writes them back at the end, and a
// missing field is zero, so a release can read the records of earlier and later
// releases. It takes decisions without the fields that it does not know: holdd
// must work without a new field, or a record with the field has a later
// encoding. The meaning of a new field must not depend on the order of fields.
//
// A release does not read a record with a state, operation, policy or currency
// that it does not know. It leaves such a record alone.
//
// A number up to 15 takes one byte, so frequent fields have these.
const (
	fieldPacked            = 1 // see packedHoldValues
	fieldReference         = 2
	fieldAmount            = 3
	fieldCurrency          = 4
	fieldCaptureAt         = 5
	fieldCancelAt          = 6
	fieldAttemptFirstAt    = 7
	fieldGeneration        = 8
	fieldIntent            = 9
	fieldOnExpiry          = 10
	fieldMetadata          = 11
	fieldCaptureAmount     = 12
	fieldCreatedAt         = 13
	fieldHistory           = 14
	fieldCapturedAmount    = 15 // see encodeCapturedAmount
	fieldSettledAt         = 16
	fieldHistoryDropped    = 17
	fieldNextAt            = 18
	fieldReason            = 19
	fieldExpiresSource     = 20
	fieldAttemptCount      = 21
	fieldRevision          = 22
	fieldInconclusiveReads = 23
	fieldRetries           = 24
	fieldCapturedElsewhere = 25
	fieldCalls             = 26
	fieldRefusals          = 27
	fieldApplicationFee    = 28
	fieldTransferAmount    = 29
	fieldDescriptorSuffix  = 30
	fieldCaptureMetadata   = 31
	fieldFlags             = 32
	// an older release may drop it: a cancel then sends abandoned, with its own
	// key
	fieldCancellationReason = 40
	fieldRenewal            = 50 // a message, see record_renewal.go
	fieldExpiresAt          = 51 // if the header has another deadline
	// an older release may drop it: an increment then reads the charge first
	fieldFeatures            = 60
	fieldIncrementAmount     = 61
	fieldIncrementUntil      = 62
	fieldIncrementPaused     = 63
	fieldIncrementPauseCause = 64
	fieldPartialCaptures     = 70 // a message, see record_partial_captures.go
	// an older release may drop it: a higher total is then refused
	fieldMaxCapturable = 71
	fieldTrace         = 80 // an older release may drop it: the trace then ends
)

const (
	flagVerified = 1 << iota
	flagAcknowledged
	flagCancelWanted
	flagReadFirst
	flagUnknownOutcome
	flagMirrored
	flagUnmirrorable
	flagSingleCapture // an older release may drop it: a capture then reads the intent first
)

func putUint48(b []byte, offset int, n uint64) {
	var w [8]byte
	binary.BigEndian.PutUint64(w[:], n)
	copy(b[offset:offset+6], w[2:])
}

func uint48(b []byte, offset int) uint64 {
	var w [8]byte
	copy(w[2:], b[offset:offset+6])
	return binary.BigEndian.Uint64(w[:])
}

func toMillis(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixMilli())
}

func fromMillis(n uint64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(n)).UTC()
}

// versionBytesArg returns a version as the bytes in a record's header, which scripts
// compare; "" for 0.
func versionBytesArg(n uint64) string {
	if n == 0 {
		return ""
	}
	var b [6]byte
	putUint48(b[:], 0, n)
	return string(b[:])
}

// appendRecord appends the record of h to b. Equal holds have equal records, so
// a repeated commit recognizes its own record.
func appendRecord(b []byte, h *hold.Hold) []byte {
	return appendRecordBody(appendRecordHeader(b, h), h)
}

// maxUnknownBytes bounds the unknown fields of a record. A release does not
// read a record with more.
const maxUnknownBytes = 4096

func appendRecordHeader(b []byte, h *hold.Hold) []byte {
	start := len(b)
	b = append(b, make([]byte, headerSize)...)
	header := b[start:]
	header[encodingOffset] = encodingVersion
	if !h.CaptureParams.IsEmpty() {
		header[encodingOffset] = captureParamsEncoding
	}
	if h.Increment != (hold.PendingIncrement{}) || h.Renewal != nil {
		header[encodingOffset] = incrementRenewalEncoding
	}
	if mustBeUnreadableToOlderReleases(h) {
		header[encodingOffset] = stagedEncoding
	}
	header[stateOffset] = encodeState(h.State)
	header[previousStateOffset] = encodeState(h.PreviousState)
	header[nextOpOffset] = byte(h.NextOp)
	putUint48(header, versionOffset, h.Version)
	putUint48(header, deadlineOffset, toMillis(hold.DeadlineForQueueOrder(h)))
	if h.State.IsFinal() {
		putUint48(header, claimedAtOffset, toMillis(h.SettledAt))
	}
	header[accountSizeOffset] = byte(len(h.Account))
	return append(b, h.Account...)
}

func appendRecordBody(b []byte, from *hold.Hold) []byte {
	rest := *from // without the packed values
	h := &rest
	b = appendNumberField(b, fieldPacked, packAndClearHoldValues(h))
	if h.PaymentIntent != h.ID {
		b = appendTextField(b, fieldIntent, h.PaymentIntent)
	}
	b = appendTextField(b, fieldReference, h.Reference)
	b = appendNumberField(b, fieldAmount, uint64(h.Amount))
	b = appendTextField(b, fieldCurrency, h.Currency)
	b = appendSettlementRelativeTime(b, h, fieldCaptureAt, h.CaptureAt)
	b = appendSettlementRelativeTime(b, h, fieldCancelAt, h.CancelAt)
	b = appendNumberField(b, fieldCaptureAmount, uint64(h.CaptureAmount))
	b = appendNumberField(b, fieldExpiresSource, uint64(h.ExpiresSource))
	if h.OnExpiry != hold.PolicyCancel {
		b = appendNumberField(b, fieldOnExpiry, uint64(h.OnExpiry))
	}
	b = appendNumberField(b, fieldRevision, h.Revision-1)
	b = appendMapField(b, fieldMetadata, h.Metadata)
	b = appendNumberField(b, fieldFlags, encodeHoldFlags(h))
	b = appendSettlementRelativeTime(b, h, fieldCreatedAt, h.CreatedAt)
	if !h.State.IsFinal() { // otherwise the header has the time
		b = appendNumberField(b, fieldSettledAt, toMillis(h.SettledAt))
	}
	b = appendNumberField(b, fieldCapturedAmount, encodeCapturedAmount(h))
	b = appendNumberField(b, fieldReason, uint64(h.Reason))
	b = appendHistory(b, from) // after the reason, which its entries may refer to
	if !h.NextAt.Equal(h.ActionTime()) || h.NextOp == 0 {
		b = appendNumberField(b, fieldNextAt, toMillis(h.NextAt))
	}
	b = appendNumberField(b, fieldGeneration, uint64(h.Generation-1))
	b = appendNumberField(b, fieldAttemptCount, uint64(h.Sent.Count))
	b = appendSettlementRelativeTime(b, h, fieldAttemptFirstAt, h.Sent.FirstAt)
	b = appendNumberField(b, fieldInconclusiveReads, uint64(h.InconclusiveReads))
	b = appendNumberField(b, fieldRetries, uint64(h.Retries))
	b = appendNumberField(b, fieldCapturedElsewhere, uint64(h.CapturedElsewhere))
	b = appendNumberField(b, fieldCalls, uint64(h.Calls))
	b = appendNumberField(b, fieldRefusals, uint64(h.Refusals))
	b = appendTextField(b, fieldCancellationReason, h.CancellationReason)
	b = appendNumberField(b, fieldFeatures, uint64(h.Features))
	b = appendIncrement(b, &h.Increment)
	b = appendRenewal(b, h)
	b = appendPartialCaptures(b, h)
	b = appendCaptureParams(b, &h.CaptureParams)
	b = appendTrace(b, h)
	b = append(b, h.Unknown.Fields...)
	return appendTestFieldOfNextRelease(b, h)
}

func appendHistory(b []byte, h *hold.Hold) []byte {
	last := h.CreatedAt
	for i := range h.History {
		e := &h.History[i]
		if h.State.IsFinal() {
			b = appendSettledHistoryEntry(b, h, *e, last)
		} else {
			entry := encodeHistoryEntry(e, last)
			entry = appendNumberField(entry, entryPacked,
				e.Unknown.Packed<<(entryFlagBits+packedBits(packedEntryValues)))
			b = appendBytesField(b, fieldHistory, entry)
		}
		last = e.At
	}
	return appendNumberField(b, fieldHistoryDropped, uint64(h.HistoryDropped))
}

func encodeHoldFlags(h *hold.Hold) uint64 {
	return flagOrZero(flagVerified, h.Verified) | flagOrZero(flagAcknowledged, h.Acknowledged) |
		flagOrZero(flagCancelWanted, h.CancelWanted) | flagOrZero(flagReadFirst, h.ReadFirst) |
		flagOrZero(flagUnknownOutcome, h.Sent.Unknown) | flagOrZero(flagMirrored, h.Mirrored) |
		flagOrZero(flagUnmirrorable, h.Unmirrorable) | flagOrZero(flagSingleCapture,
		h.SingleCapture) | h.Unknown.Flags
}

func flagOrZero(flag uint64, set bool) uint64 {
	if set {
		return flag
	}
	return 0
}

// decodeRecord decodes the record of the hold with this id. claimedAt is the
// time at which its claim began. The error is a *[hold.UnreadableRecordError].
func decodeRecord(id, rec string) (h hold.Hold, claimedAt time.Time, err error) {
	b := []byte(rec)
	if len(b) < headerSize || b[encodingOffset] < encodingVersion ||
		b[encodingOffset] > lastEncoding || len(b) < headerSize+int(b[accountSizeOffset]) {
		return h, claimedAt, &hold.UnreadableRecordError{HoldID: id}
	}
	body := headerSize + int(b[accountSizeOffset])
	h, claimedAt = decodeRecordHeader(id, b[:body])
	captured := uint64(0)
	last := time.Time{} // of the previous history entry, or of the creation
	err = forEachRecordField(b[body:], func(f decodedRecordField) (err error) {
		switch f.num {
		case fieldMetadata:
			return decodeMapEntry(&h.Metadata, f.bytes)
		case fieldCaptureMetadata:
			return decodeMapEntry(&h.CaptureParams.CaptureMetadata, f.bytes)
		case fieldHistory:
			last, err = appendDecodedHistoryEntry(&h, f, last)
			return err
		case fieldRenewal:
			h.Renewal, err = decodeRenewal(f.bytes)
			return err
		case fieldPartialCaptures:
			h.PartialCaptures, err = decodePartialCaptures(f.bytes)
			return err
		case fieldCreatedAt:
			last = decodeSettlementRelativeTime(&h, f.n)
		case fieldCapturedAmount:
			captured = f.n // its meaning depends on the amount
			return nil
		case fieldPacked:
			return unpackHoldValues(&h, f.n)
		}
		if !decodeHoldField(&h, f.num, f.n, f.bytes) {
			h.Unknown.Fields += string(f.raw)
		}
		return nil
	})
	if err != nil || hold.HasUnknownValues(&h) || countUnknownBytes(&h) > maxUnknownBytes {
		return h, claimedAt, &hold.UnreadableRecordError{HoldID: id}
	}
	h.CapturedAmount = decodeCapturedAmount(&h, captured)
	if h.NextAt.IsZero() && h.NextOp != 0 {
		h.NextAt = h.ActionTime()
	}
	return h, claimedAt, nil
}

// appendDecodedHistoryEntry appends a history entry and returns its time. last is the
// time of the entry before it.
func appendDecodedHistoryEntry(
	h *hold.Hold,
	f decodedRecordField,
	last time.Time,
) (time.Time, error) {
	e, err := decodeHistoryEntry(h, f, last)
	if err != nil {
		return last, err
	}
	h.History = append(h.History, e)
	return e.At, nil
}

// decodeRecordHeader decodes the header of a record: its fixed part and the
// account. claimedAt is zero for a settled hold, whose header has the time of
// its end instead.
func decodeRecordHeader(id string, b []byte) (h hold.Hold, claimedAt time.Time) {
	h = hold.Hold{
		ID:            id,
		PaymentIntent: id,
		Account:       string(b[headerSize:]),
		State:         decodeState(b[stateOffset]),
		PreviousState: decodeState(b[previousStateOffset]),
		NextOp:        hold.Op(b[nextOpOffset]),
		Version:       uint48(b, versionOffset),
		ExpiresAt:     fromMillis(uint48(b, deadlineOffset)),
		OnExpiry:      hold.PolicyCancel,
		Revision:      1,
		Generation:    1,
	}
	claimedAt = fromMillis(uint48(b, claimedAtOffset))
	if h.State.IsFinal() {
		h.SettledAt, claimedAt = claimedAt, time.Time{}
	}
	return h, claimedAt
}

// decodeHoldField sets a field that has a single value: n of a number, v of a
// text. It reports whether it knows the field.
func decodeHoldField(h *hold.Hold, f protowire.Number, n uint64, v []byte) (known bool) {
	switch f {
	case fieldIntent:
		h.PaymentIntent = string(v)
	case fieldReference:
		h.Reference = string(v)
	case fieldAmount:
		h.Amount = int64(n)
	case fieldCurrency:
		h.Currency = string(v)
	case fieldCaptureAt:
		h.CaptureAt = decodeSettlementRelativeTime(h, n)
	case fieldCancelAt:
		h.CancelAt = decodeSettlementRelativeTime(h, n)
	case fieldCaptureAmount:
		h.CaptureAmount = int64(n)
	case fieldExpiresSource:
		h.ExpiresSource = hold.DeadlineSource(n)
	case fieldOnExpiry:
		h.OnExpiry = hold.ExpiryPolicy(n)
	case fieldRevision:
		h.Revision = n + 1
	case fieldFlags:
		setHoldFlags(h, n)
	case fieldCreatedAt:
		h.CreatedAt = decodeSettlementRelativeTime(h, n)
	case fieldSettledAt:
		h.SettledAt = fromMillis(n)
	case fieldFeatures:
		h.Features = hold.CardFeatures(n)
	case fieldMaxCapturable:
		h.MaxCapturable = int64(n)
	case fieldExpiresAt:
		h.ExpiresAt = fromMillis(n)
	default:
		return decodeHoldProgressField(h, f, n, v) ||
			decodeCaptureParamField(&h.CaptureParams, f, n, v) ||
			decodeIncrementField(&h.Increment, f, n) || decodeTraceField(&h.Trace, f, v)
	}
	return true
}

// decodeHoldProgressField sets a field of what was done with a hold. known is
// false for a field of another kind.
func decodeHoldProgressField(h *hold.Hold, f protowire.Number, n uint64, v []byte) (known bool) {
	switch f {
	case fieldHistoryDropped:
		h.HistoryDropped = uint32(n)
	case fieldNextAt:
		h.NextAt = fromMillis(n)
	case fieldReason:
		h.Reason = hold.Cause(n)
	case fieldGeneration:
		h.Generation = uint32(n) + 1
	case fieldAttemptCount:
		h.Sent.Count = uint32(n)
	case fieldAttemptFirstAt:
		h.Sent.FirstAt = decodeSettlementRelativeTime(h, n)
	case fieldInconclusiveReads:
		h.InconclusiveReads = uint32(n)
	case fieldRetries:
		h.Retries = uint32(n)
	case fieldCapturedElsewhere:
		h.CapturedElsewhere = int64(n)
	case fieldCalls:
		h.Calls = uint32(n)
	case fieldRefusals:
		h.Refusals = uint32(n)
	case fieldCancellationReason:
		h.CancellationReason = string(v)
	default:
		return false
	}
	return true
}

func setHoldFlags(h *hold.Hold, n uint64) {
	h.Verified, h.Acknowledged = n&flagVerified != 0, n&flagAcknowledged != 0
	h.CancelWanted, h.ReadFirst = n&flagCancelWanted != 0, n&flagReadFirst != 0
	h.Sent.Unknown = n&flagUnknownOutcome != 0
	h.Mirrored, h.Unmirrorable = n&flagMirrored != 0, n&flagUnmirrorable != 0
	h.SingleCapture = n&flagSingleCapture != 0
	h.Unknown.Flags = n &^ (flagSingleCapture<<1 - 1)
}
