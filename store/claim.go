package store

import (
	"context"
	"errors"
	"slices"
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

var shareArgs = scriptArgNames{"SHARE", []string{
	shareLane:  "LANE",
	shareHolds: "HOLDS",
	shareUntil: "UNTIL",
}}

// claimScriptCall is one call of claim.lua: shares of one partition, at most
// [maxBatchSize] of them with at most as many holds in all.
type claimScriptCall struct {
	scriptCall
	holds  int
	shares []int // indexes of its shares
}

// ClaimReadyHolds leases holds to the caller, nearest deadline first in each
// lane, in one round trip to each server. claims[i] are the holds of shares[i].
// A lane must have at most one share. One share claims at most [maxBatchSize]
// holds. With an error, the claims that ClaimReadyHolds returns are valid.
func (s *Queue) ClaimReadyHolds(
	ctx context.Context, shares []hold.ClaimShare, lease time.Duration,
) (claims []hold.ClaimedShare, err error) {
	calls := s.splitSharesIntoClaimCalls(shares, lease)
	if len(calls) == 0 {
		return make([]hold.ClaimedShare, len(shares)), nil
	}
	scripts := make([]scriptCall, len(calls))
	for i, c := range calls {
		scripts[i] = c.scriptCall
	}
	claims = make([]hold.ClaimedShare, len(shares))
	for i, cmd := range s.conn.callScriptBatch(ctx, claimScript, scripts) {
		err = errors.Join(err, s.readClaimReply(newScriptReply(cmd), calls[i].shares, claims))
	}
	return claims, err
}

// splitSharesIntoClaimCalls divides shares into calls.
func (s *Queue) splitSharesIntoClaimCalls(
	shares []hold.ClaimShare, lease time.Duration,
) (calls []*claimScriptCall) {
	open := make([]*claimScriptCall, len(s.conn.partitions)) // the last call of each partition
	for i := range shares {
		share := &shares[i]
		if share.Holds <= 0 {
			continue
		}
		p, n := share.Lane.Partition, clampBatchSize(share.Holds)
		c := open[p]
		if c == nil || len(c.shares) == maxBatchSize || c.holds+n > maxBatchSize {
			k := &s.conn.partitions[p]
			c = &claimScriptCall{scriptCall: scriptCall{
				keys: []string{k.leased, k.holds, k.lanes, k.ready, k.changes},
				args: []any{lease.Milliseconds()},
			}}
			open[p] = c
			calls = append(calls, c)
		}
		c.shares, c.holds = append(c.shares, i), c.holds+n
		var a [shareSize]string
		a[shareLane] = laneNameOfOpAndAccount(share.Lane.Op, share.Lane.Account)
		a[shareHolds], a[shareUntil] = strconv.Itoa(n), scoreArg(share.Until)
		for _, v := range a {
			c.args = append(c.args, v)
		}
	}
	return calls
}

// readClaimReply reads the reply to a call into the claims of its shares.
func (s *Queue) readClaimReply(
	r *scriptReply, shares []int, claims []hold.ClaimedShare,
) error {
	now := r.nextTime()
	var unreadable error
	for _, i := range shares {
		n, nearest := r.nextInt(), r.nextOptionalTime()
		claims[i].Claims = slices.Grow(claims[i].Claims, int(min(max(0, n), maxBatchSize)))
		for range n {
			id, rec, takenOver := r.nextString(), r.nextString(), r.nextFlag()
			if r.err != nil {
				break
			}
			h, claimedAt, err := s.conn.decodeAndTrackUnreadable(id, rec)
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
