package store

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
)

// A record is a header that the scripts read, and a body that only Go reads.
//
//	byte  1      encoding, now 1
//	byte  2      state
//	byte  3      state before the claim
//	byte  4      next operation, 0 for none
//	bytes 5-10   version: the fencing token, 48 bits, big endian
//	bytes 11-16  when the claim began, Unix milliseconds
//	bytes 17-22  deadline, Unix milliseconds
//	byte  23     length of the account, then the account
//
// The body is protobuf's wire format with the field numbers below: a field that this version doesn't know is skipped, one that is missing
// is zero, so that records can be read after an upgrade and, while replicas of both versions run, before it. (What an older replica
// skipped is gone when it writes the record: a new field must be of a kind that can be missed.) Whoever changes the header raises the encoding and teaches decode the old one.
const (
	encodingVersion = 1
	headerSize      = 23
	versionOffset   = 4
	claimedAtOffset = 10
	deadlineOffset  = 16
)

const (
	fIntent         = 1
	fReference      = 2
	fAmount         = 3
	fCurrency       = 4
	fCaptureAt      = 5
	fCancelAt       = 6
	fCaptureAmount  = 7
	fSource         = 8
	fOnExpiry       = 9
	fRevision       = 10
	fMetadata       = 11
	fFlags          = 12
	fCreatedAt      = 13
	fSettledAt      = 14
	fCapturedTotal  = 15
	fHistory        = 16
	fForgotten      = 17
	fNextAt         = 18
	fWhy            = 19
	fGeneration     = 20
	fAttemptCount   = 21
	fAttemptFirstAt = 22
	fMisses         = 23
	fRetries        = 24
	fElsewhere      = 25
	fCalls          = 26
	fRefusals       = 27
)

const (
	flagVerified = 1 << iota
	flagAcknowledged
	flagCancelWanted
	flagReadFirst
	flagUnknown
	flagMirrored
	flagUnmirrorable
	flagSingleCapture // without it a capture reads first, so an older replica may drop it
)

func put48(b []byte, off int, n uint64) {
	var w [8]byte
	binary.BigEndian.PutUint64(w[:], n)
	copy(b[off:off+6], w[2:])
}

func get48(b []byte, off int) uint64 {
	var w [8]byte
	copy(w[2:], b[off:off+6])
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

// version48 is a version as it stands in a record's header.
func version48(n uint64) string {
	var b [6]byte
	put48(b[:], 0, n)
	return string(b[:])
}

// encodeRecord appends h's record to b.
func encodeRecord(b []byte, h *hold.Hold) []byte {
	start := len(b)
	b = append(b, make([]byte, headerSize)...)
	head := b[start:]
	head[0], head[1], head[2], head[3] = encodingVersion, byte(h.State), byte(h.PreviousState), byte(h.NextOp)
	put48(head, versionOffset, h.Version)
	put48(head, deadlineOffset, toMillis(h.ExpiresAt))
	head[22] = byte(len(h.Account))
	b = append(b, h.Account...)

	num := func(f protowire.Number, n uint64) {
		if n != 0 {
			b = protowire.AppendVarint(protowire.AppendTag(b, f, protowire.VarintType), n)
		}
	}
	str := func(f protowire.Number, s string) {
		if s != "" {
			b = protowire.AppendString(protowire.AppendTag(b, f, protowire.BytesType), s)
		}
	}
	if h.PaymentIntent != h.ID {
		str(fIntent, h.PaymentIntent)
	}
	str(fReference, h.Reference)
	num(fAmount, uint64(h.Amount))
	str(fCurrency, h.Currency)
	num(fCaptureAt, toMillis(h.CaptureAt))
	num(fCancelAt, toMillis(h.CancelAt))
	num(fCaptureAmount, uint64(h.CaptureAmount))
	num(fSource, uint64(h.ExpiresSource))
	if h.OnExpiry != hold.PolicyCancel {
		num(fOnExpiry, uint64(h.OnExpiry))
	}
	num(fRevision, h.Revision-1)
	for _, k := range slices.Sorted(maps.Keys(h.Metadata)) {
		pair := protowire.AppendString(nil, k)
		pair = protowire.AppendString(pair, h.Metadata[k])
		b = protowire.AppendBytes(protowire.AppendTag(b, fMetadata, protowire.BytesType), pair)
	}
	num(fFlags, recordFlags(h))
	num(fCreatedAt, toMillis(h.CreatedAt))
	num(fSettledAt, toMillis(h.SettledAt))
	num(fCapturedTotal, uint64(h.CapturedAmount))
	last := h.CreatedAt
	for i := range h.History {
		b = protowire.AppendBytes(protowire.AppendTag(b, fHistory, protowire.BytesType), encodeEntry(&h.History[i], last))
		last = h.History[i].At
	}
	num(fForgotten, uint64(h.HistoryDropped))
	if own := h.ActionTime(); !h.NextAt.Equal(own) || h.NextOp == 0 {
		num(fNextAt, toMillis(h.NextAt))
	}
	num(fWhy, uint64(h.Reason))
	num(fGeneration, uint64(h.Generation-1))
	num(fAttemptCount, uint64(h.Attempt.Count))
	num(fAttemptFirstAt, toMillis(h.Attempt.FirstAt))
	num(fMisses, uint64(h.InconclusiveReads))
	num(fRetries, uint64(h.Retries))
	num(fElsewhere, uint64(h.CapturedElsewhere))
	num(fCalls, uint64(h.Calls))
	num(fRefusals, uint64(h.Refusals))
	return b
}

func recordFlags(h *hold.Hold) uint64 {
	return flagIf(flagVerified, h.Verified) | flagIf(flagAcknowledged, h.Acknowledged) | flagIf(flagCancelWanted, h.CancelWanted) |
		flagIf(flagReadFirst, h.ReadFirst) | flagIf(flagUnknown, h.Attempt.Unknown) |
		flagIf(flagMirrored, h.Mirrored) | flagIf(flagUnmirrorable, h.Unmirrorable) | flagIf(flagSingleCapture, h.SingleCapture)
}

func flagIf(flag uint64, set bool) uint64 {
	if set {
		return flag
	}
	return 0
}

// Field numbers of a history entry. Its time is the distance from the entry before, which most often is small.
const (
	eAfter = iota + 1
	eKind
	eBy
	eOp
	eKey
	eRequestID
	eAnswer
	eCause
	eNote
)

func encodeEntry(e *hold.HistoryEntry, last time.Time) []byte {
	b := make([]byte, 0, 16+len(e.By)+len(e.Key)+len(e.RequestID)+len(e.Note))
	num := func(f protowire.Number, n uint64) {
		if n != 0 {
			b = protowire.AppendVarint(protowire.AppendTag(b, f, protowire.VarintType), n)
		}
	}
	str := func(f protowire.Number, s string) {
		if s != "" {
			b = protowire.AppendString(protowire.AppendTag(b, f, protowire.BytesType), s)
		}
	}
	num(eAfter, protowire.EncodeZigZag(int64(toMillis(e.At))-int64(toMillis(last))))
	num(eKind, uint64(e.Kind))
	str(eBy, e.By)
	num(eOp, uint64(e.Op))
	str(eKey, e.Key)
	str(eRequestID, e.RequestID)
	num(eAnswer, uint64(e.Answer))
	num(eCause, uint64(e.Cause))
	str(eNote, e.Note)
	return b
}

// decodeRecord reads the record of the hold id. since is when its claim began.
func decodeRecord(id string, rec string) (h hold.Hold, since time.Time, err error) {
	b := []byte(rec)
	if len(b) < headerSize || b[0] != encodingVersion || len(b) < headerSize+int(b[22]) {
		return h, since, fmt.Errorf("hold %s: %w", id, hold.ErrUnreadableRecord)
	}
	h = hold.Hold{
		ID: id, PaymentIntent: id, State: hold.State(b[1]), PreviousState: hold.State(b[2]), NextOp: hold.Op(b[3]), Version: get48(b, versionOffset),
		ExpiresAt: fromMillis(get48(b, deadlineOffset)), OnExpiry: hold.PolicyCancel, Revision: 1, Generation: 1,
	}
	since = fromMillis(get48(b, claimedAtOffset))
	h.Account = string(b[headerSize : headerSize+int(b[22])])
	nextAt, last := uint64(0), time.Time{}
	err = eachField(b[headerSize+int(b[22]):], func(f protowire.Number, n uint64, v []byte) error {
		switch f {
		case fIntent:
			h.PaymentIntent = string(v)
		case fReference:
			h.Reference = string(v)
		case fAmount:
			h.Amount = int64(n)
		case fCurrency:
			h.Currency = string(v)
		case fCaptureAt:
			h.CaptureAt = fromMillis(n)
		case fCancelAt:
			h.CancelAt = fromMillis(n)
		case fCaptureAmount:
			h.CaptureAmount = int64(n)
		case fSource:
			h.ExpiresSource = hold.DeadlineSource(n)
		case fOnExpiry:
			h.OnExpiry = hold.Policy(n)
		case fRevision:
			h.Revision = n + 1
		case fMetadata:
			k, size := protowire.ConsumeString(v)
			if size < 0 {
				return hold.ErrUnreadableRecord
			}
			val, size := protowire.ConsumeString(v[size:])
			if size < 0 {
				return hold.ErrUnreadableRecord
			}
			if h.Metadata == nil {
				h.Metadata = map[string]string{}
			}
			h.Metadata[k] = val
		case fFlags:
			h.Verified, h.Acknowledged = n&flagVerified != 0, n&flagAcknowledged != 0
			h.CancelWanted, h.ReadFirst, h.Attempt.Unknown = n&flagCancelWanted != 0, n&flagReadFirst != 0, n&flagUnknown != 0
			h.Mirrored, h.Unmirrorable = n&flagMirrored != 0, n&flagUnmirrorable != 0
			h.SingleCapture = n&flagSingleCapture != 0
		case fCreatedAt:
			h.CreatedAt = fromMillis(n)
			last = h.CreatedAt
		case fSettledAt:
			h.SettledAt = fromMillis(n)
		case fCapturedTotal:
			h.CapturedAmount = int64(n)
		case fHistory:
			e, err := decodeEntry(v, last)
			if err != nil {
				return err
			}
			last = e.At
			h.History = append(h.History, e)
		case fForgotten:
			h.HistoryDropped = uint32(n)
		case fNextAt:
			nextAt = n
		case fWhy:
			h.Reason = hold.Cause(n)
		case fGeneration:
			h.Generation = uint32(n) + 1
		case fAttemptCount:
			h.Attempt.Count = uint32(n)
		case fAttemptFirstAt:
			h.Attempt.FirstAt = fromMillis(n)
		case fMisses:
			h.InconclusiveReads = uint32(n)
		case fRetries:
			h.Retries = uint32(n)
		case fElsewhere:
			h.CapturedElsewhere = int64(n)
		case fCalls:
			h.Calls = uint32(n)
		case fRefusals:
			h.Refusals = uint32(n)
		}
		return nil
	})
	if err != nil {
		return h, since, fmt.Errorf("hold %s: %w", id, err)
	}
	h.NextAt = fromMillis(nextAt)
	if nextAt == 0 && h.NextOp != 0 {
		h.NextAt = h.ActionTime()
	}
	return h, since, nil
}

func decodeEntry(b []byte, last time.Time) (e hold.HistoryEntry, err error) {
	after := int64(0)
	err = eachField(b, func(f protowire.Number, n uint64, v []byte) error {
		switch f {
		case eAfter:
			after = protowire.DecodeZigZag(n)
		case eKind:
			e.Kind = hold.HistoryKind(n)
		case eBy:
			e.By = string(v)
		case eOp:
			e.Op = hold.Op(n)
		case eKey:
			e.Key = string(v)
		case eRequestID:
			e.RequestID = string(v)
		case eAnswer:
			e.Answer = hold.AnswerKind(n)
		case eCause:
			e.Cause = hold.Cause(n)
		case eNote:
			e.Note = string(v)
		}
		return nil
	})
	e.At = fromMillis(uint64(int64(toMillis(last)) + after))
	return e, err
}

// eachField calls f for each field of a body; of n and v only the one of the field's wire type is set.
func eachField(b []byte, f func(num protowire.Number, n uint64, v []byte) error) error {
	for len(b) > 0 {
		num, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return hold.ErrUnreadableRecord
		}
		b = b[size:]
		var n uint64
		var v []byte
		switch typ {
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			v, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(num, typ, b)
		}
		if size < 0 {
			return hold.ErrUnreadableRecord
		}
		b = b[size:]
		if err := f(num, n, v); err != nil {
			return err
		}
	}
	return nil
}
