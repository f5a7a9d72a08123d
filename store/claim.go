package store

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

var claimScript = newScript("claim")

// Arguments of one share, in the order in which claim.lua gets them.
const (
	shareLane = iota
	shareHolds
	shareUntil
	shareSize
)

var shareArgs = argNames{"SHARE", []string{
	shareLane:  "LANE",
	shareHolds: "HOLDS",
	shareUntil: "UNTIL",
}}

// claimCall is one call of claim.lua: shares of one partition, at most
// [maxBatchSize] of them with at most as many holds in all.
type claimCall struct {
	scriptCall
	holds  int
	shares []int // indexes of its shares
}

// Claim leases holds to the caller, nearest deadline first in each lane, in one
// round trip to each server. claims[i] are the holds of shares[i]. A lane must
// have at most one share. One share claims at most [maxBatchSize] holds. With
// an error, the claims that Claim returns are valid.
func (s *Queue) Claim(
	ctx context.Context, shares []hold.Share, lease time.Duration,
) (claims []hold.ShareClaims, err error) {
	calls := s.claimCalls(shares, lease)
	if len(calls) == 0 {
		return make([]hold.ShareClaims, len(shares)), nil
	}
	scripts := make([]scriptCall, len(calls))
	for i, c := range calls {
		scripts[i] = c.scriptCall
	}
	claims = make([]hold.ShareClaims, len(shares))
	for i, cmd := range s.conn.callScriptBatch(ctx, claimScript, scripts) {
		err = errors.Join(err, readClaims(newReply(cmd), calls[i].shares, claims))
	}
	return claims, err
}

// claimCalls divides shares into calls.
func (s *Queue) claimCalls(shares []hold.Share, lease time.Duration) (calls []*claimCall) {
	open := make([]*claimCall, len(s.conn.partitions)) // the last call of each partition
	for i := range shares {
		share := &shares[i]
		if share.Holds <= 0 {
			continue
		}
		p, n := share.Lane.Partition, clampBatchSize(share.Holds)
		c := open[p]
		if c == nil || len(c.shares) == maxBatchSize || c.holds+n > maxBatchSize {
			k := &s.conn.partitions[p]
			c = &claimCall{scriptCall: scriptCall{
				keys: []string{k.leased, k.holds, k.lanes, k.ready},
				args: []any{lease.Milliseconds()},
			}}
			open[p] = c
			calls = append(calls, c)
		}
		c.shares, c.holds = append(c.shares, i), c.holds+n
		var a [shareSize]string
		a[shareLane] = laneName(share.Lane.Op, share.Lane.Account)
		a[shareHolds], a[shareUntil] = strconv.Itoa(n), scoreArg(share.Until)
		for _, v := range a {
			c.args = append(c.args, v)
		}
	}
	return calls
}

// readClaims reads the reply to a call into the claims of its shares.
func readClaims(r *reply, shares []int, claims []hold.ShareClaims) error {
	now := r.time()
	var unreadable error
	for _, i := range shares {
		n, nearest := r.int(), r.optionalTime()
		for range n {
			id, rec, takenOver := r.str(), r.str(), r.flag()
			if r.err != nil {
				break
			}
			h, claimedAt, err := decodeRecord(id, rec)
			if err != nil { // the other claims are valid; this hold returns when its lease ends
				unreadable = errors.Join(unreadable, err)
				continue
			}
			claims[i].Claims = append(claims[i].Claims,
				hold.Claim{Hold: h, Since: claimedAt, TakenOver: takenOver})
		}
		if r.err != nil {
			break
		}
		claims[i].NearestDeadline, claims[i].LeasedAt = nearest, now
	}
	return errors.Join(r.err, unreadable)
}
