package store

import (
	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
)

// traceBytes is the size of fieldTrace: the ids of trace and span, and the
// flags.
const traceBytes = 16 + 8 + 1

// appendTrace appends the trace of a hold that has one. A settled hold needs
// none any more: it is kept for months, and its events have the trace.
func appendTrace(b []byte, h *hold.Hold) []byte {
	if h.Trace == (hold.TraceContext{}) || h.State.IsFinal() {
		return b
	}
	v := make([]byte, 0, traceBytes)
	v = append(append(v, h.Trace.TraceID[:]...), h.Trace.SpanID[:]...)
	return appendBytesField(b, fieldTrace, append(v, h.Trace.Flags))
}

// decodeTraceField reports whether the field is a trace that this release can read.
func decodeTraceField(t *hold.TraceContext, f protowire.Number, v []byte) (known bool) {
	if f != fieldTrace || len(v) != traceBytes {
		return false
	}
	copy(t.TraceID[:], v)
	copy(t.SpanID[:], v[len(t.TraceID):])
	t.Flags = v[traceBytes-1]
	return true
}
