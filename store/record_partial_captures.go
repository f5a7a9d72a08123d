package store

import (
	"time"

	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of captures in parts.
const (
	stagedStage = iota + 1 // a message, once for each stage
	stagedBase
	stagedDone
	stagedCaptured
	stagedCount
	stagedPart
	stagedRequest // once for each request
	stagedPartRequest
	stagedMetadataFull
	stagedPartParams // a message with the field numbers of the record
)

// Field numbers of a stage.
const (
	stageAt = iota + 1 // ms after the stage before
	stageAmount
)

// mustBeUnreadableToOlderReleases reports whether a release that knows no captures in parts
// must leave the record alone: it would take everything in one capture, or take
// a total above the authorized amount for a mistake.
func mustBeUnreadableToOlderReleases(h *hold.Hold) bool {
	return h.PartialCaptures != nil || h.CaptureAmount > h.Amount+h.CapturedElsewhere && h.Amount > 0
}

// appendPartialCaptures appends the captures in parts of h, if it has any.
func appendPartialCaptures(b []byte, h *hold.Hold) []byte {
	b = appendNumberField(b, fieldMaxCapturable, uint64(h.MaxCapturable))
	s := h.PartialCaptures
	if s == nil {
		return b
	}
	var m []byte
	last := uint64(0)
	for _, stage := range s.Plan {
		at := toMillis(stage.At)
		m = appendBytesField(m, stagedStage, appendNumberField(
			appendNumberField(nil, stageAt, at-last), stageAmount, uint64(stage.Amount)))
		last = at
	}
	m = appendNumberField(m, stagedBase, uint64(s.Base))
	m = appendNumberField(m, stagedDone, uint64(s.Done))
	m = appendNumberField(m, stagedCaptured, uint64(s.Captured))
	m = appendNumberField(m, stagedCount, uint64(s.Count))
	m = appendNumberField(m, stagedPart, uint64(s.Part))
	for _, r := range s.Requests {
		m = protowire.AppendFixed64(protowire.AppendTag(m, stagedRequest, protowire.Fixed64Type), r)
	}
	m = appendNumberField(m, stagedPartRequest, s.Request)
	if s.MetadataFull {
		m = appendNumberField(m, stagedMetadataFull, 1)
	}
	if !s.PartParams.IsEmpty() {
		m = appendBytesField(m, stagedPartParams, appendCaptureParams(nil, &s.PartParams))
	}
	m = append(m, s.Unknown.Fields...)
	return appendBytesField(b, fieldPartialCaptures, m)
}

func decodePartialCaptures(b []byte) (*hold.PartialCaptures, error) {
	s := &hold.PartialCaptures{}
	last := uint64(0)
	err := forEachRecordField(b, func(f decodedRecordField) error {
		switch f.num {
		case stagedStage:
			stage, at, err := decodePlannedCapture(f.bytes, last)
			if err != nil {
				return err
			}
			last = at
			s.Plan = append(s.Plan, stage)
		case stagedBase:
			s.Base = int64(f.n)
		case stagedDone:
			s.Done = uint32(f.n)
		case stagedCaptured:
			s.Captured = int64(f.n)
		case stagedCount:
			s.Count = uint32(f.n)
		case stagedPart:
			s.Part = int64(f.n)
		case stagedRequest:
			s.Requests = append(s.Requests, f.n)
		case stagedPartRequest:
			s.Request = f.n
		case stagedPartParams:
			return decodeCaptureParams(&s.PartParams, f.bytes)
		case stagedMetadataFull:
			s.MetadataFull = f.n != 0
		default:
			s.Unknown.Fields += string(f.raw)
		}
		return nil
	})
	return s, err
}

// decodePlannedCapture decodes a stage. last is the time of the one before, in
// Unix milliseconds.
func decodePlannedCapture(b []byte, last uint64) (stage hold.CaptureStage, at uint64, err error) {
	var amount int64
	at = last
	err = forEachRecordField(b, func(f decodedRecordField) error {
		switch f.num {
		case stageAt:
			at += f.n
		case stageAmount:
			amount = int64(f.n)
		}
		return nil
	})
	return hold.CaptureStage{At: time.UnixMilli(int64(at)).UTC(), Amount: amount}, at, err
}

func decodeCaptureParams(p *hold.CaptureParams, b []byte) error {
	return forEachRecordField(b, func(f decodedRecordField) error {
		if f.num == fieldCaptureMetadata {
			return decodeMapEntry(&p.CaptureMetadata, f.bytes)
		}
		decodeCaptureParamField(p, f.num, f.n, f.bytes)
		return nil
	})
}
