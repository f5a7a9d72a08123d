package hold

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"time"
)

// termKeys are all that a mirror may have written, but for the further pieces
// of the metadata.
var termKeys = []string{MetaCaptureAt, MetaCancelAt, MetaTimeZone, MetaCaptureAmount, MetaOnExpiry,
	MetaReference, MetaPaused, MetaWaiting, MetaMetadata}

// MetadataUpdate is what is to be written to the intent's metadata, and the
// idempotency key of it. in is the metadata as far as Stripe has told, nil
// before anything was asked: then a hold whose terms have changed takes out
// whatever earlier terms may have left. Writing the same twice does no harm;
// the key is of the revision and of due, so that terms that come back (A, B, A)
// and a try that follows another are written anew.
func MetadataUpdate(
	h *Hold, in map[string]string, due time.Time,
) (pairs map[string]string, key string, ok bool) {
	if in == nil && h.Revision > 1 {
		in = map[string]string{}
		for _, k := range termKeys {
			in[k] = "?" // a value that no term has
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

// MarkMirrored says that the terms were written, or that they never will be.
func MarkMirrored(h Hold, written bool) Decision {
	h.Mirrored, h.Unmirrorable = written, !written
	return Decision{Hold: h}
}

// DeferMirror says that they are to be written at another time.
func DeferMirror(h Hold, at time.Time) Decision { return Decision{Hold: h, MirrorAt: at} }
