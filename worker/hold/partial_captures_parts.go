package hold

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// MetaParts is the key of a PaymentIntent's metadata that says what holdd's
// captures in parts have taken in all, how many they are, and which requests they
// belong to: "7500 2 3k9QzM1u,Yb0_c-7A". Each such capture writes it, so it is
// there if and only if the capture happened. A read then tells holdd's captures
// from those of other systems, also after Redis was lost.
const MetaParts = "holdd_parts"

// capturedParts is what [MetaParts] says.
type capturedParts struct {
	captured int64
	count    uint32
	requests []uint64
}

// encode returns the value for the metadata. It fits a value of Stripe's: at most
// 49 parts are followed by a last capture.
func (p *capturedParts) encode() string {
	text := make([]string, 0, len(p.requests))
	for _, r := range p.requests[max(0, len(p.requests)-(MaxCaptures-1)):] {
		b := binary.BigEndian.AppendUint64(nil, r)
		text = append(text, base64.RawURLEncoding.EncodeToString(b[2:])) // 48 bits
	}
	return strings.TrimSpace(fmt.Sprintf("%d %d %s", p.captured, p.count, strings.Join(text, ",")))
}

// decodeCapturedParts reads the value of [MetaParts]. ok is false if there is none.
func decodeCapturedParts(text string) (p capturedParts, ok bool) {
	fields := strings.Fields(text)
	if len(fields) < 2 || len(fields) > 3 {
		return p, false
	}
	captured, err := strconv.ParseInt(fields[0], 10, 64)
	count, countErr := strconv.ParseUint(fields[1], 10, 32)
	if err != nil || countErr != nil || captured <= 0 || count == 0 || count >= MaxCaptures {
		return p, false
	}
	p.captured, p.count = captured, uint32(count)
	if len(fields) == 2 {
		return p, true
	}
	for text := range strings.SplitSeq(fields[2], ",") {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(b) != 6 || len(p.requests) >= MaxCaptures {
			return p, false
		}
		p.requests = append(p.requests, binary.BigEndian.Uint64(append([]byte{0, 0}, b...)))
	}
	return p, true
}

// findUnknownOwnParts returns what the metadata of an intent says of parts that the hold
// does not know. ok is false if there are none, or if the value contradicts what
// Stripe has received: then it may be a copy.
func findUnknownOwnParts(h *Hold, in *PaymentIntent) (p capturedParts, ok bool) {
	p, ok = decodeCapturedParts(in.Metadata[MetaParts])
	return p, ok && p.captured > ownPartialCaptureTotal(h) && p.captured <= in.AmountReceived
}

// adoptUnknownOwnParts takes parts over that the hold does not know, because the answer
// to their capture was lost, or Redis.
func adoptUnknownOwnParts(h *Hold, in *PaymentIntent) (adopted bool) {
	p, ok := findUnknownOwnParts(h, in)
	if !ok {
		return false
	}
	h.CapturedElsewhere = max(0, h.CapturedElsewhere-(p.captured-ownPartialCaptureTotal(h)))
	s := unsharePartialCaptures(h)
	s.Captured, s.Count = p.captured, p.count
	s.addRequests(p.requests)
	if s.Part == 0 && slices.Contains(p.requests, s.Request) {
		s.Request = 0 // its outcome is known now
	}
	return true
}

// addRequests remembers the requests of parts that were captured.
func (s *PartialCaptures) addRequests(requests []uint64) {
	for _, r := range requests {
		if !slices.Contains(s.Requests, r) {
			s.Requests = append(s.Requests, r)
		}
	}
}

// isPartialCaptureSent reports whether a capture that keeps the rest was sent and has no
// outcome yet.
func isPartialCaptureSent(h *Hold) bool {
	return isNextCapturePartial(h) && (h.Sent.Count > 0 || h.Sent.Unknown)
}

// recordMetadataRoomForParts records whether the metadata of an intent has room for
// [MetaParts]. While a capture has no outcome, what was sent is sent again.
func recordMetadataRoomForParts(h *Hold, in *PaymentIntent) {
	if !isNextCapturePartial(h) || isPartialCaptureSent(h) {
		return
	}
	if _, there := in.Metadata[MetaParts]; there {
		return
	}
	need := len(in.Metadata) + 1
	for k := range nextCaptureParams(h).CaptureMetadata {
		if _, there := in.Metadata[k]; !there {
			need++
		}
	}
	unsharePartialCaptures(h).MetadataFull = need > stripeMetadataKeys
}

// nextCaptureParams returns the parameters of the hold's next capture: those of a
// requested part belong to it alone.
func nextCaptureParams(h *Hold) *CaptureParams {
	if h.PartialCaptures != nil && h.PartialCaptures.Part > 0 {
		return &h.PartialCaptures.PartParams
	}
	return &h.CaptureParams
}

// captureParamsToSend returns the parameters of the next capture. One that keeps
// the rest adds [MetaParts].
func captureParamsToSend(h *Hold, amount int64) CaptureParams {
	p := *nextCaptureParams(h)
	if !isNextCapturePartial(h) || h.PartialCaptures.MetadataFull {
		return p
	}
	parts := capturedParts{
		captured: ownPartialCaptureTotal(h) + amount,
		count:    h.PartialCaptures.Count + 1,
		requests: slices.Clip(h.PartialCaptures.Requests),
	}
	if h.PartialCaptures.Part > 0 && h.PartialCaptures.Request != 0 {
		parts.requests = append(parts.requests, h.PartialCaptures.Request)
	}
	pairs := maps.Clone(p.CaptureMetadata)
	if pairs == nil {
		pairs = map[string]string{}
	}
	pairs[MetaParts] = parts.encode()
	p.CaptureMetadata = pairs
	return p
}
