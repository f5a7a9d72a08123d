package store

import (
	"context"
	"time"
)

// Locks keeps locks, so that one replica at a time runs a job. A lock saves work
// and protects no data: a job that takes longer than its lock runs beside that of
// another replica.
type Locks struct{ conn *redisConn }

// AcquireLock acquires a lock for at most d and reports whether this call got it.
func (s *Locks) AcquireLock(ctx context.Context, name string, d time.Duration) (bool, error) {
	return s.conn.setNXEvenIfFull(ctx, keyLock+name, "1", d)
}

// ReleaseLock ends a lock that the caller has acquired before its time.
func (s *Locks) ReleaseLock(ctx context.Context, name string) error {
	return s.conn.client.Del(ctx, keyLock+name).Err()
}
