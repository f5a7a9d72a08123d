package hold

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"strconv"
	"time"
)

// keyLifetime is how long an idempotency key is used. Stripe keeps keys for at
// least 24 h; the hour in between covers clock differences and slow requests.
const keyLifetime = 23 * time.Hour

// keyPrefix begins every idempotency key of holdd, so that an event from Stripe
// shows whether holdd's request caused it.
const keyPrefix = "holdd-"

// idempotencyKey derives the key from the effect of the request: hold,
// operation, digest of the parameters, generation. The same effect has the same
// key on every replica and after every crash, and no other effect has it. The
// key names the operation because Stripe does not scope keys by endpoint.
func idempotencyKey(h *Hold, c Call) string {
	d := sha256.New()
	var n [8]byte
	for _, s := range []string{h.Account, h.PaymentIntent, c.Op.String()} {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		d.Write(n[:])
		d.Write([]byte(s))
	}
	amount := uint64(c.Amount)
	if c.ReleaseRest {
		amount = ^uint64(0) // capturing nothing and capturing everything both have amount 0
	}
	binary.BigEndian.PutUint64(n[:], amount)
	d.Write(n[:])
	// The key of the reason abandoned stays that of releases that send no
	// other.
	if c.CancellationReason != ReasonAbandoned {
		d.Write([]byte(c.CancellationReason))
	}
	if !c.CaptureParams.IsEmpty() {
		d.Write(c.CaptureParams.canonicalJSON())
	}
	sum := d.Sum(nil)
	return keyPrefix + h.ID + "-" + c.Op.String() + "-" + hex.EncodeToString(sum[:8]) + "-" +
		strconv.FormatUint(uint64(h.Generation), 10)
}

// maxBackoff is the longest time between two calls of a hold that is due.
const maxBackoff = 5 * time.Minute

// retryBackoff returns how long to wait before the hold's next retry. Once many
// calls were alerted, the limit is maxBackoff.
func retryBackoff(h *Hold, base, limit time.Duration) time.Duration {
	if h.Calls >= MaxCallsBeforeAlert {
		limit = maxBackoff
	}
	return jitteredBackoff(h.ID, h.Retries, base, limit)
}

// jitteredBackoff returns how long to wait before retry n (from 1): base
// doubled each time up to limit, then shortened by up to half. The jitter
// depends on the hold and n only: holds that failed together spread, and the
// same history gives the same times.
func jitteredBackoff(id string, n uint32, base, limit time.Duration) time.Duration {
	d := base
	for i := uint32(1); i < n && d < limit; i++ {
		d *= 2
	}
	d = min(d, limit)
	f := fnv.New64a()
	f.Write([]byte(id))
	f.Write(binary.BigEndian.AppendUint32(nil, n))
	// FNV's low bits spread well enough; no secret depends on them.
	share := float64(f.Sum64()%1024) / 1024
	return (d - time.Duration(share*float64(d/2))).Truncate(time.Millisecond)
}
