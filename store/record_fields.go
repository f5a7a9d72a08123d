package store

import (
	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
)

// decodedRecordField is one field of a body.
type decodedRecordField struct {
	num   protowire.Number
	n     uint64 // of a number
	bytes []byte // of a text or a message
	raw   []byte // the whole field
}

// forEachRecordField calls f for each field of a body.
func forEachRecordField(b []byte, f func(decodedRecordField) error) error {
	for len(b) > 0 {
		num, typ, tagSize := protowire.ConsumeTag(b)
		if tagSize < 0 {
			return hold.ErrUnreadableRecord
		}
		field, size := decodedRecordField{num: num}, 0
		switch value := b[tagSize:]; typ {
		case protowire.VarintType:
			field.n, size = protowire.ConsumeVarint(value)
		case protowire.BytesType:
			field.bytes, size = protowire.ConsumeBytes(value)
		case protowire.Fixed64Type:
			field.n, size = protowire.ConsumeFixed64(value)
		default:
			size = protowire.ConsumeFieldValue(num, typ, value)
		}
		if size < 0 {
			return hold.ErrUnreadableRecord
		}
		field.raw, b = b[:tagSize+size], b[tagSize+size:]
		if err := f(field); err != nil {
			return err
		}
	}
	return nil
}

// countUnknownBytes returns the size of a hold's unknown fields.
func countUnknownBytes(h *hold.Hold) int {
	size := len(h.Unknown.Fields)
	if h.Renewal != nil {
		size += len(h.Renewal.Unknown.Fields)
	}
	if h.PartialCaptures != nil {
		size += len(h.PartialCaptures.Unknown.Fields)
	}
	for i := range h.History {
		size += len(h.History[i].Unknown.Fields)
	}
	return size
}

// appendNumberField appends a field, unless it is zero.
func appendNumberField(b []byte, f protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, f, protowire.VarintType), n)
}

// appendTextField appends a field, unless it is empty.
func appendTextField(b []byte, f protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, f, protowire.BytesType), s)
}

func appendBytesField(b []byte, f protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, f, protowire.BytesType), v)
}
