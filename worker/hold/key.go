package hold

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"strconv"
	"time"
)

// keyLifetime is how long an idempotency key is trusted. Stripe keeps keys for
// at least 24 h and may forget them after that; the hour in between covers
// clocks that disagree and requests that are slow.
const keyLifetime = 23 * time.Hour

// keyPrefix begins every idempotency key of ours, so that Stripe's events tell
// which requests were.
const keyPrefix = "holdd-"

// idempotencyKey derives the idempotency key from what the request will do, so
// that the same effect has the same key on every replica and after every crash,
// and another effect never shares it: hold, operation, digest of the
// parameters, generation. Stripe doesn't make the endpoint a part of a key's
// scope, hence the operation in it.
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
		amount = ^uint64(0) // no amount: taking nothing and taking everything are both sent as 0
	}
	binary.BigEndian.PutUint64(n[:], amount)
	d.Write(n[:])
	sum := d.Sum(nil)
	return keyPrefix + h.ID + "-" + c.Op.String() + "-" + hex.EncodeToString(sum[:8]) + "-" +
		strconv.FormatUint(uint64(h.Generation), 10)
}

// backoff is how long to wait before retry n (from 1): base doubled each time
// up to cap, then shortened by up to half. The jitter comes from the hold and
// the number of the retry, so that holds that failed together don't come back
// together, and the same history always gives the same times.
func backoff(id string, n uint32, base, cap time.Duration) time.Duration {
	d := base
	for i := uint32(1); i < n && d < cap; i++ {
		d *= 2
	}
	d = min(d, cap)
	f := fnv.New64a()
	f.Write([]byte(id))
	f.Write(binary.BigEndian.AppendUint32(nil, n))
	// FNV's low bits are good enough to spread a herd; no secret depends on
	// them.
	share := float64(f.Sum64()%1024) / 1024
	return (d - time.Duration(share*float64(d/2))).Truncate(time.Millisecond)
}
