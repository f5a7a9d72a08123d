package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

// AuditLog keeps the audit stream: who changed which hold. Each entry has the
// hash of the entry before it, so a changed, removed or inserted entry shows.
type AuditLog struct {
	conn *redisConn
	keep int // entries; 0: none are written

	mu   sync.Mutex
	head string // hash of the newest entry that this process knows
}

var auditAppendScript = newScript("audit_append")

// maxAuditTries bounds how often entries are hashed anew because another replica
// was first.
const maxAuditTries = 20

// ErrAuditBusy says that other replicas were first each time.
var ErrAuditBusy = errors.New("audit entries not written: other replicas were first each time")

// AppendAuditEntries appends entries and returns the hash of the last one. It
// returns "" without the setting.
func (a *AuditLog) AppendAuditEntries(
	ctx context.Context, entries []hold.AuditLogEntry,
) (string, error) {
	if a.keep == 0 || len(entries) == 0 {
		return "", nil
	}
	texts := make([]string, len(entries))
	for i := range entries {
		text, err := json.Marshal(&entries[i])
		if err != nil {
			return "", err
		}
		texts[i] = string(text)
	}
	head := a.updateAndGetCachedHead("")
	for range maxAuditTries {
		args := []any{head, a.keep}
		previous := head
		for _, text := range texts {
			hash := auditHash(previous, text)
			args = append(args, text, previous, hash)
			previous = hash
		}
		r := newScriptReply(a.conn.callScript(ctx, auditAppendScript, []string{keyAudit}, args...))
		appended := r.nextInt() == 1
		head = r.nextString()
		if r.err != nil {
			return "", r.err
		}
		a.updateAndGetCachedHead(head)
		if appended {
			return head, nil
		}
	}
	return "", ErrAuditBusy
}

// updateAndGetCachedHead returns the newest known hash, after it has set another one.
func (a *AuditLog) updateAndGetCachedHead(head string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if head != "" {
		a.head = head
	}
	return a.head
}

// auditHash returns the hash of an entry: SHA-256 of the hash of the entry before
// it, a line feed, and its text.
func auditHash(previous, text string) string {
	sum := sha256.Sum256([]byte(previous + "\n" + text))
	return hex.EncodeToString(sum[:])
}

// AuditVerification is the result of [VerifyAuditLog].
type AuditVerification struct {
	Entries int64
	First   string // id of the oldest entry in the stream; older ones were trimmed
	Head    string // hash of the newest entry
	// BrokenAt is the id of the first entry that does not follow from the one
	// before it; empty if all do.
	BrokenAt string
	// HasExpected reports whether an entry has the expected hash.
	HasExpected bool
}

// VerifyAuditLog reads the whole audit stream and checks its hashes. expected
// is a hash that was noted earlier; empty for none.
func VerifyAuditLog(
	ctx context.Context, o Options, expected string,
) (v AuditVerification, err error) {
	client, err := newClient(o)
	if err != nil {
		return v, err
	}
	defer client.Close() // nothing was written, so an error does not matter
	from := "-"
	for {
		found, err := client.XRangeN(ctx, keyAudit, from, "+", maxBatchSize).Result()
		if err != nil {
			return v, fmt.Errorf("cannot read from Redis: %w", err)
		}
		for i := range found {
			v.add(&found[i], expected)
		}
		if len(found) < maxBatchSize {
			return v, nil
		}
		from = "(" + found[len(found)-1].ID
	}
}

func (v *AuditVerification) add(m *redis.XMessage, expected string) {
	text, _ := m.Values["entry"].(string)
	previous, _ := m.Values["previous"].(string)
	hash, _ := m.Values["hash"].(string)
	broken := hash != auditHash(previous, text) || v.Entries > 0 && previous != v.Head
	if broken && v.BrokenAt == "" {
		v.BrokenAt = m.ID
	}
	if v.Entries == 0 {
		v.First = m.ID
	}
	v.Entries++
	v.Head = hash
	v.HasExpected = v.HasExpected || expected != "" && hash == expected && v.BrokenAt == ""
}
