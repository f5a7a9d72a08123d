package hold

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Keys of the terms in a PaymentIntent's metadata. A booking system writes them
// to schedule by metadata. holdd writes them to mirror terms from other
// sources, so that a lost Redis can be rebuilt.
const (
	MetaCaptureAt     = "holdd_capture_at"
	MetaCancelAt      = "holdd_cancel_at"
	MetaTimeZone      = "holdd_time_zone"
	MetaCaptureAmount = "holdd_capture_amount"
	MetaOnExpiry      = "holdd_on_expiry"
	MetaReference     = "holdd_reference"
	MetaPaused        = "holdd_paused"  // "true": the hold was paused
	MetaWaiting       = "holdd_waiting" // "true": the hold has no time
	// MetaMetadata has the hold's own metadata as JSON, in pieces:
	// holdd_metadata, holdd_metadata_2, …
	MetaMetadata = "holdd_metadata"

	// MetaAuthorization names the attempt that created the intent, so that
	// holdd finds the intent when the answer was lost. It is no term.
	MetaAuthorization = "holdd_authorization"
)

// Limits of a PaymentIntent's metadata at Stripe.
const (
	stripeMetadataKeys  = 50
	stripeMetadataValue = 500
)

// RequestFromMetadata reads the terms in an intent's metadata. ok is false if
// there are none: holdd must not touch that intent. Errors are *[Problem].
func RequestFromMetadata(
	in *Intent, account string,
) (req ScheduleRequest, paused, ok bool, err error) {
	m := in.Metadata
	req = ScheduleRequest{
		PaymentIntent: in.ID, Account: account, CaptureAt: m[MetaCaptureAt],
		CancelAt: m[MetaCancelAt], TimeZone: m[MetaTimeZone],
		OnExpiry: m[MetaOnExpiry], Reference: m[MetaReference],
	}
	amount := m[MetaCaptureAmount]
	if req.CaptureAt == "" && req.CancelAt == "" && m[MetaWaiting] == "" && m[MetaPaused] == "" &&
		amount == "" && req.OnExpiry == "" && req.Reference == "" {
		return req, false, false, nil
	}
	if amount != "" {
		req.CaptureAmount, err = strconv.ParseInt(amount, 10, 64)
		if err != nil || req.CaptureAmount <= 0 {
			return req, false, true, problem(InvalidAmount, MetaCaptureAmount,
				"invalid amount %.40q: want minor units, such as 1250 for 12.50", amount)
		}
	}
	var pairs strings.Builder
	for i := 1; ; i++ {
		piece, there := m[metadataPieceKey(i)]
		if !there {
			break
		}
		pairs.WriteString(piece)
	}
	if pairs.Len() > 0 {
		if err := json.Unmarshal([]byte(pairs.String()), &req.Metadata); err != nil {
			return req, false, true, problem(InvalidMetadata, MetaMetadata,
				"invalid metadata: want a JSON object of strings")
		}
	}
	return req, m[MetaPaused] == "true", true, nil
}

func metadataPieceKey(i int) string {
	if i == 1 {
		return MetaMetadata
	}
	return MetaMetadata + "_" + strconv.Itoa(i)
}

// MetadataDiff returns the pairs to write so that an intent's metadata has the
// hold's terms. An empty value removes a key, as at Stripe. ok is false if they
// do not fit beside the intent's other metadata.
func MetadataDiff(h *Hold, in map[string]string) (pairs map[string]string, ok bool) {
	want, err := termPairs(h)
	if err != nil {
		return nil, false
	}
	pairs = map[string]string{}
	total := len(want)
	for k, v := range in {
		if !strings.HasPrefix(k, "holdd_") || k == MetaAuthorization {
			total++
			continue
		}
		if w, there := want[k]; there && w == v {
			delete(want, k)
		} else if !there {
			pairs[k] = ""
		}
	}
	for k, v := range want {
		pairs[k] = v
	}
	return pairs, total <= stripeMetadataKeys
}

// termPairs returns the hold's terms as metadata.
func termPairs(h *Hold) (map[string]string, error) {
	want := map[string]string{}
	set := func(k, v string) {
		if v != "" {
			want[k] = v
		}
	}
	if !h.CaptureAt.IsZero() {
		set(MetaCaptureAt, h.CaptureAt.UTC().Format(time.RFC3339Nano))
	}
	if !h.CancelAt.IsZero() {
		set(MetaCancelAt, h.CancelAt.UTC().Format(time.RFC3339Nano))
	}
	if h.CaptureAmount > 0 {
		set(MetaCaptureAmount, strconv.FormatInt(h.CaptureAmount, 10))
	}
	if h.OnExpiry != PolicyCancel {
		set(MetaOnExpiry, h.OnExpiry.String())
	}
	set(MetaReference, h.Reference)
	if h.State == Paused {
		set(MetaPaused, "true")
	}
	if h.ActionTime().IsZero() {
		set(MetaWaiting, "true")
	}
	if len(h.Metadata) > 0 {
		b, err := json.Marshal(h.Metadata) // sorted by key
		if err != nil {
			return nil, err
		}
		rest := string(b)
		for i := 1; rest != ""; i++ {
			// a limit in bytes holds whether Stripe counts bytes or characters
			piece := truncateUTF8(rest, stripeMetadataValue)
			set(metadataPieceKey(i), piece)
			rest = rest[len(piece):]
		}
	}
	return want, nil
}
