package hold

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"time"
)

// termKeys are the keys that a mirror may have written, except the further
// pieces of the metadata. Those of the planned captures are here: a piece of a
// longer plan must not follow a shorter one.
var termKeys = []string{MetaCaptureAt, MetaCancelAt, MetaTimeZone, MetaCaptureAmount, MetaOnExpiry,
	MetaReference, MetaPaused, MetaWaiting, MetaMetadata, MetaApplicationFee, MetaTransferAmount,
	MetaDescriptorSuffix, MetaCaptureMetadata, MetaRenewalUntil, MetaRenewalMaxAmount,
	MetaRenewalMaxRenewals, MetaRenewalOnFailure, MetaRenewalReleaseFirst, MetaCaptures,
	MetaCapturesFrom, metadataPieceKey(MetaCaptures, 2), metadataPieceKey(MetaCaptures, 3),
	metadataPieceKey(MetaCaptures, 4)}

// MetadataDiffWithIdempotencyKey returns the pairs to write to the intent's metadata and the
// idempotency key of that request. in is the metadata as read from Stripe, nil
// if it was not read: a hold whose terms have changed then removes all earlier
// terms. The key covers the revision and due, so that terms that return (A, B,
// A) and later tries are written again.
func MetadataDiffWithIdempotencyKey(
	h *Hold, in map[string]string, due time.Time,
) (pairs map[string]string, key string, ok bool) {
	if in == nil && h.Revision > 1 {
		in = map[string]string{}
		for _, k := range termKeys {
			in[k] = "?" // no term has this value
		}
	}
	pairs, ok = MetadataDiff(h, in)
	d := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(pairs)) {
		d.Write([]byte(strconv.Quote(k) + strconv.Quote(pairs[k])))
	}
	sum := d.Sum(nil)
	key = keyPrefix + h.ID + "-" + OpUpdate.String() + "-" + hex.EncodeToString(sum[:8]) + "-" +
		strconv.FormatUint(h.Revision, 10) + "-" + strconv.FormatInt(due.UnixMilli(), 36)
	return pairs, key, ok
}

// RecordMirrorResult records that the terms were written, or that they cannot be.
func RecordMirrorResult(h Hold, written bool) Decision {
	h.Mirrored, h.Unmirrorable = written, !written
	return Decision{Hold: h}
}

// DeferMirror sets when writing the terms is retried.
func DeferMirror(h Hold, at time.Time) Decision { return Decision{Hold: h, MirrorAt: at} }
