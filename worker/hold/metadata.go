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

	MetaApplicationFee   = "holdd_application_fee_amount"
	MetaTransferAmount   = "holdd_transfer_data_amount"
	MetaDescriptorSuffix = "holdd_statement_descriptor_suffix"
	MetaCaptureMetadata  = "holdd_capture_metadata" // in pieces as well

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
	in *PaymentIntent, account string,
) (req ScheduleRequest, paused, ok bool, err error) {
	m := in.Metadata
	req = ScheduleRequest{
		PaymentIntent: in.ID, Account: account, CaptureAt: m[MetaCaptureAt],
		CancelAt: m[MetaCancelAt], TimeZone: m[MetaTimeZone],
		OnExpiry: m[MetaOnExpiry], Reference: removeUndisplayable(m[MetaReference]),
	}
	req.StatementDescriptorSuffix = m[MetaDescriptorSuffix]
	amount, fee, transfer := m[MetaCaptureAmount], m[MetaApplicationFee], m[MetaTransferAmount]
	if req.CaptureAt == "" && req.CancelAt == "" && m[MetaWaiting] == "" && m[MetaPaused] == "" &&
		amount == "" && req.OnExpiry == "" && req.Reference == "" && fee == "" && transfer == "" &&
		req.StatementDescriptorSuffix == "" && m[MetaCaptureMetadata] == "" &&
		m[MetaRenewalUntil] == "" && m[MetaCaptures] == "" {
		return req, false, false, nil
	}
	for _, a := range []struct {
		key string
		n   *int64
	}{
		{MetaCaptureAmount, &req.CaptureAmount},
		{MetaApplicationFee, &req.ApplicationFeeAmount},
		{MetaTransferAmount, &req.TransferData.Amount},
	} {
		if *a.n, err = parseMetadataAmount(a.key, m[a.key]); err != nil {
			return req, false, true, err
		}
	}
	if req.Renewal, err = readRenewalMetadata(m); err != nil {
		return req, false, true, err
	}
	if err = readCaptureStagesMetadata(m, &req); err != nil {
		return req, false, true, err
	}
	if req.Metadata, err = readMetadataPairs(m, MetaMetadata); err != nil {
		return req, false, true, err
	}
	if req.CaptureMetadata, err = readMetadataPairs(m, MetaCaptureMetadata); err != nil {
		return req, false, true, err
	}
	return req, m[MetaPaused] == "true", true, nil
}

// isIdentityKey reports whether a key says what the intent is, and is no term.
func isIdentityKey(k string) bool {
	return k == MetaAuthorization || k == MetaHold || k == MetaGeneration || k == MetaReplaces ||
		k == MetaRenewals || k == MetaIntent || k == MetaParts
}

func parseMetadataAmount(key, s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return 0, newProblem(InvalidAmount, key,
			"invalid amount %.40q: want minor units, such as 1250 for 12.50", s)
	}
	return n, nil
}

// readMetadataPairs decodes the pairs that [writeMetadataPairs] has written
// under key.
func readMetadataPairs(m map[string]string, key string) (pairs map[string]string, err error) {
	text := joinMetadataPieces(m, key)
	if text == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &pairs); err != nil {
		return nil, newProblem(InvalidMetadata, key,
			"invalid metadata: want a JSON object of strings")
	}
	return pairs, nil
}

// joinMetadataPieces returns the text that [splitMetadataValue] has written under
// key.
func joinMetadataPieces(m map[string]string, key string) string {
	var text strings.Builder
	for i := 1; ; i++ {
		piece, there := m[metadataPieceKey(key, i)]
		if !there {
			return text.String()
		}
		text.WriteString(piece)
	}
}

// splitMetadataValue adds a text to m, in pieces that each fit a value. A limit
// in bytes holds whether Stripe counts bytes or characters.
func splitMetadataValue(m map[string]string, key, text string) {
	for i := 1; text != ""; i++ {
		piece := truncateUTF8(text, stripeMetadataValue)
		m[metadataPieceKey(key, i)] = piece
		text = text[len(piece):]
	}
}

// writeMetadataPairs adds pairs to m as JSON, in pieces that each fit a value.
func writeMetadataPairs(m map[string]string, key string, pairs map[string]string) error {
	if len(pairs) == 0 {
		return nil
	}
	b, err := json.Marshal(pairs) // sorted by key
	if err != nil {
		return err
	}
	splitMetadataValue(m, key, string(b))
	return nil
}

func metadataPieceKey(key string, i int) string {
	if i == 1 {
		return key
	}
	return key + "_" + strconv.Itoa(i)
}

// MetadataDiff returns the pairs to write so that an intent's metadata has the
// hold's terms. An empty value removes a key, as at Stripe. ok is false if they
// do not fit beside the intent's other metadata.
func MetadataDiff(h *Hold, in map[string]string) (pairs map[string]string, ok bool) {
	want, err := termsAsMetadata(h)
	if err != nil {
		return nil, false
	}
	if h.PaymentIntent != h.ID && in[MetaIntent] != h.PaymentIntent {
		want[MetaIntent] = h.PaymentIntent
	}
	pairs = map[string]string{}
	total := len(want)
	for k, v := range in {
		if !strings.HasPrefix(k, "holdd_") || isIdentityKey(k) {
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
	for k := range h.CaptureParams.CaptureMetadata { // the capture needs room for its pairs
		if _, there := in[k]; !there {
			total++
		}
	}
	return pairs, total <= stripeMetadataKeys
}

// termsAsMetadata returns the hold's terms as metadata.
func termsAsMetadata(h *Hold) (map[string]string, error) {
	want := map[string]string{}
	set := func(k, v string) {
		if v != "" {
			want[k] = v
		}
	}
	amount := func(k string, n int64) {
		if n > 0 {
			want[k] = strconv.FormatInt(n, 10)
		}
	}
	planned := len(PlannedCaptureStages(h)) > 0
	if !h.CaptureAt.IsZero() && !planned {
		set(MetaCaptureAt, h.CaptureAt.UTC().Format(time.RFC3339Nano))
	}
	if !h.CancelAt.IsZero() {
		set(MetaCancelAt, h.CancelAt.UTC().Format(time.RFC3339Nano))
	}
	if !planned {
		amount(MetaCaptureAmount, h.CaptureAmount)
	}
	writeCaptureStagesMetadata(want, h.PartialCaptures)
	if h.OnExpiry != PolicyCancel {
		set(MetaOnExpiry, h.OnExpiry.String())
	}
	set(MetaReference, h.Reference)
	if h.State == Paused || h.Increment.Paused {
		set(MetaPaused, "true")
	}
	if h.ActionTime().IsZero() {
		set(MetaWaiting, "true")
	}
	amount(MetaApplicationFee, h.CaptureParams.ApplicationFeeAmount)
	amount(MetaTransferAmount, h.CaptureParams.TransferData.Amount)
	set(MetaDescriptorSuffix, h.CaptureParams.StatementDescriptorSuffix)
	writeRenewalMetadata(want, renewalTermsOf(h))
	if err := writeMetadataPairs(want, MetaMetadata, h.Metadata); err != nil {
		return nil, err
	}
	return want, writeMetadataPairs(want, MetaCaptureMetadata, h.CaptureParams.CaptureMetadata)
}
