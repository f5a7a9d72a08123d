package commit

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/hold"
)

// appendAuditOfWrittenChanges records the requests of callers among the changes that
// were written. A hold is changed whether or not its entry is written: the log
// line of the change has the same author.
func (c *Committer) appendAuditOfWrittenChanges(
	ctx context.Context, changes []Change, results []hold.CommitResult,
) {
	var entries []hold.AuditLogEntry
	for i := range changes {
		if changes[i].wasWrittenByCommitter(results[i]) {
			entries = append(entries, changes[i].Decision.AuditEntries(changes[i].Before)...)
		}
	}
	c.appendAuditEntriesToStore(ctx, entries)
}

// auditTimeout bounds the record of an act whose caller does not wait for it.
const auditTimeout = 5 * time.Second

// RecordAct records what an operator did, now. It was done whether or not its
// entry is written, and also if its caller does not wait any more.
func (c *Committer) RecordAct(ctx context.Context, e hold.AuditLogEntry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout)
	defer cancel()
	e.At = c.o.Now().UTC()
	c.appendAuditEntriesToStore(ctx, []hold.AuditLogEntry{e})
}

func (c *Committer) appendAuditEntriesToStore(ctx context.Context, entries []hold.AuditLogEntry) {
	if len(entries) == 0 {
		return
	}
	hash, err := c.store.AppendAuditEntries(ctx, entries)
	switch {
	case err != nil:
		c.o.Logger.Error("audit entries not written: the lines of the changes have their authors",
			zap.String("event", "audit.failed"), zap.Int("entries", len(entries)), zap.Error(err))
	case hash != "":
		c.o.Logger.Info("audit entries written", zap.String("event", "audit.written"),
			zap.Int("entries", len(entries)), zap.String("hash", hash))
	}
}
