package store

import (
	"context"
	"time"
)

// Locks keeps locks, so that one replica at a time runs a job.
type Locks struct{ conn *redisConn }

// AcquireLock acquires a lock for d and reports whether this call got it. The
// lock cannot be released: it ends after d.
func (s *Locks) AcquireLock(ctx context.Context, name string, d time.Duration) (bool, error) {
	return s.conn.setIfMissing(ctx, keyLock+name, "1", d)
}
