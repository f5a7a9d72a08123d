package store

import (
	"time"

	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of a history entry.
const (
	entryAfter = iota + 1 // ms since the previous entry, a smaller number than a time
	entryKind
	entryBy
	entryOp
	entryKey
	entryRequestID
	entryAnswer
	entryCause
	entryNote
)

// encodeHistoryEntry encodes an entry. last is the time of the previous entry,
// or of the hold's creation.
func encodeHistoryEntry(e *hold.HistoryEntry, last time.Time) []byte {
	b := make([]byte, 0, 16+len(e.By)+len(e.Key)+len(e.RequestID)+len(e.Note))
	b = appendNumberField(b, entryAfter,
		protowire.EncodeZigZag(int64(toMillis(e.At))-int64(toMillis(last))))
	b = appendNumberField(b, entryKind, uint64(e.Kind))
	b = appendTextField(b, entryBy, e.By)
	b = appendNumberField(b, entryOp, uint64(e.Op))
	b = appendTextField(b, entryKey, e.Key)
	b = appendTextField(b, entryRequestID, e.RequestID)
	b = appendNumberField(b, entryAnswer, uint64(e.Answer))
	b = appendNumberField(b, entryCause, uint64(e.Cause))
	return append(appendTextField(b, entryNote, e.Note), e.Unknown.Fields...)
}

// decodeHistoryEntry decodes an entry of h, whose header is decoded. An entry
// that is a number has no bytes.
func decodeHistoryEntry(
	h *hold.Hold, field decodedRecordField, last time.Time,
) (e hold.HistoryEntry, err error) {
	after := int64(0)
	var short settledHistoryDecoder
	if field.bytes == nil {
		short.unpackHistoryValues(&e, field.n)
	}
	err = forEachRecordField(field.bytes, func(f decodedRecordField) error {
		n, v := f.n, f.bytes
		switch f.num {
		case entryAfter:
			after = protowire.DecodeZigZag(n)
		case entryKind:
			e.Kind = hold.HistoryKind(n)
		case entryBy:
			e.By = string(v)
		case entryOp:
			e.Op = hold.Op(n)
		case entryKey:
			e.Key = string(v)
		case entryRequestID:
			e.RequestID = string(v)
		case entryAnswer:
			e.Answer = hold.AnswerKind(n)
		case entryCause:
			e.Cause = hold.Cause(n)
		case entryNote:
			e.Note = string(v)
		default:
			if !short.setField(&e, f.num, n, v) {
				e.Unknown.Fields += string(f.raw)
			}
		}
		return nil
	})
	e.At = fromMillis(uint64(int64(toMillis(last)) + after))
	short.fillDerivedFields(&e, h)
	return e, err
}
