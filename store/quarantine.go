package store

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
)

var (
	readRawScript   = newScript("read_raw")
	removeRawScript = newScript("remove_raw")
)

// Bounds of the quarantine. It then has at most 32 MiB.
const (
	maxQuarantined = 1000
	// maxRawBytes is more than the largest record of a hold. A larger value is
	// cut.
	maxRawBytes = 256 << 10
	// maxQuarantinedBytes is how much of a record the quarantine keeps.
	maxQuarantinedBytes = 32 << 10
	// quarantinePage is how many entries are read at once.
	quarantinePage = 20
	// laterEncodings is how many encodings after this release's are taken for
	// those of later releases, and not for text.
	laterEncodings = 16
)

// ReadRawRecord reads the record of a hold as it is.
func (s *Holds) ReadRawRecord(ctx context.Context, id string) (hold.RawRecord, error) {
	k := s.conn.partitionKeysOfHold(id)
	r := newScriptReply(s.conn.callScript(ctx, readRawScript, []string{k.holds, k.mirror},
		id, maxRawBytes))
	digest, exists := r.nextOptionalString()
	raw := hold.RawRecord{ID: id, Exists: exists, Digest: digest, Size: int(r.nextInt()),
		Unmirrored: r.nextFlag(), Bytes: []byte(r.nextString())}
	if r.err != nil || !exists {
		return raw, r.err
	}
	_, _, err := decodeRecord(id, string(raw.Bytes))
	raw.Readable = err == nil && raw.Size == len(raw.Bytes)
	raw.Later = !raw.Readable && isOfLaterRelease(raw.Bytes)
	if account, ok := decodeAccountFromHeader(raw.Bytes); ok &&
		hold.CheckAccountID(account) == nil {
		raw.Account = account
	}
	return raw, nil
}

// isOfLaterRelease reports whether a record has the form that later releases
// write: a header with an encoding that may come, and fields.
func isOfLaterRelease(rec []byte) bool {
	account, ok := decodeAccountFromHeader(rec)
	if !ok || rec[encodingOffset] < encodingVersion ||
		rec[encodingOffset] > lastEncoding+laterEncodings || rec[stateOffset] == 0 {
		return false
	}
	packed := false // appendRecordBody begins with it
	err := forEachRecordField(rec[headerSize+len(account):], func(f decodedRecordField) error {
		packed = packed || f.num == fieldPacked && f.raw[0] == fieldPacked<<3|byte(
			protowire.VarintType)
		return nil
	})
	return err == nil && packed
}

// decodeAccountFromHeader returns the account in the header of a record. ok is
// false if the record is too short for it.
func decodeAccountFromHeader(rec []byte) (account string, ok bool) {
	if len(rec) < headerSize || len(rec) < headerSize+int(rec[accountSizeOffset]) {
		return "", false
	}
	return string(rec[headerSize : headerSize+int(rec[accountSizeOffset])]), true
}

// QuarantineRecord moves a record to the quarantine, and removes the hold from
// the sets of its partition. ok is false if the record has changed since it was
// read.
func (s *Holds) QuarantineRecord(
	ctx context.Context, raw hold.RawRecord, by string,
) (ok bool, err error) {
	// First the copy: after a crash, the record may be in both places.
	err = s.conn.client.XAdd(ctx, &redis.XAddArgs{
		Stream: keyQuarantine, MaxLen: maxQuarantined,
		Values: []any{
			"hold", raw.ID, "by", by, "size", raw.Size, "unmirrored", boolArg(raw.Unmirrored),
			"account", raw.Account, "record", raw.Bytes[:min(len(raw.Bytes), maxQuarantinedBytes)],
		},
	}).Err()
	if err != nil {
		return false, err
	}
	k := s.conn.partitionKeysOfHold(raw.ID)
	references, err := s.conn.findReferenceMembersOfHold(ctx, k, raw.ID)
	if err != nil {
		return false, err
	}
	keys := append([]string{k.holds, k.lanes, k.ready, k.references, k.changes}, k.holdSetKeys()...)
	args := []any{raw.ID, raw.Digest}
	for _, member := range references {
		args = append(args, member)
	}
	removed, err := s.conn.callScript(ctx, removeRawScript, keys, args...).Int64()
	return removed == 1, err
}

// findReferenceMembersOfHold returns the members of a hold in references, whose
// reference is unknown.
func (c *redisConn) findReferenceMembersOfHold(
	ctx context.Context, k *partitionKeys, id string,
) (members []string, err error) {
	cursor := uint64(0)
	for {
		found, next, err := c.client.ZScan(ctx, k.references, cursor,
			"*"+referenceMember("", id), maxBatchSize).Result()
		if err != nil {
			return members, err
		}
		for i := 0; i < len(found); i += 2 { // member, score, member, score, …
			members = append(members, found[i])
		}
		if cursor = next; cursor == 0 || len(members) >= maxBatchSize {
			return members, nil
		}
	}
}

// ReadQuarantinedRecord returns the newest quarantined record of a hold.
func (s *Holds) ReadQuarantinedRecord(
	ctx context.Context, id string,
) (q hold.QuarantinedRecord, found bool, err error) {
	err = s.conn.forEachQuarantined(ctx, func(entry redis.XMessage) bool {
		text := func(field string) string {
			v, _ := entry.Values[field].(string)
			return v
		}
		if text("hold") != id {
			return true
		}
		size, _ := strconv.Atoi(text("size")) // QuarantineRecord wrote it
		q = hold.QuarantinedRecord{HoldID: id, By: text("by"), Size: size,
			Record: []byte(text("record")), Unmirrored: text("unmirrored") == boolArg(true),
			Account: text("account"),
			At:      time.UnixMilli(int64(streamIDMillis(entry.ID))).UTC()}
		found = true
		return false
	})
	return q, found, err
}

// forEachQuarantined calls f for each entry of the quarantine, newest first,
// until f returns false.
func (c *redisConn) forEachQuarantined(ctx context.Context, f func(redis.XMessage) bool) error {
	newest := "+"
	for {
		found, err := c.client.XRevRangeN(ctx, keyQuarantine, newest, "-", quarantinePage).Result()
		if err != nil {
			return err
		}
		for _, entry := range found {
			if !f(entry) {
				return nil
			}
		}
		if len(found) < quarantinePage {
			return nil
		}
		newest = "(" + found[len(found)-1].ID
	}
}
