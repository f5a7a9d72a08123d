package hold

import "encoding/hex"

// TraceContext names the span that work continues, as W3C Trace Context defines
// it. A hold keeps that of the request which scheduled it. Zero means none.
type TraceContext struct {
	TraceID [16]byte
	SpanID  [8]byte
	Flags   byte
}

// TraceFlagSampled is the flag of a trace that is recorded.
const TraceFlagSampled byte = 1

// IsSampled reports whether the trace is recorded. A hold keeps no other.
func (t TraceContext) IsSampled() bool { return t.Flags&TraceFlagSampled != 0 }

// TraceIDText returns the id of the trace in lower-case hex.
func (t TraceContext) TraceIDText() string { return hex.EncodeToString(t.TraceID[:]) }

// Traceparent returns the header traceparent, or "" for none.
func (t TraceContext) Traceparent() string {
	if t == (TraceContext{}) {
		return ""
	}
	b := make([]byte, 0, len("00-")+2*len(t.TraceID)+len("-")+2*len(t.SpanID)+len("-01"))
	b = hex.AppendEncode(append(b, "00-"...), t.TraceID[:])
	b = hex.AppendEncode(append(b, '-'), t.SpanID[:])
	return string(hex.AppendEncode(append(b, '-'), []byte{t.Flags}))
}
