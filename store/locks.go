package store

import (
	"context"
	"time"
)

// Locks lets one replica at a time do a job.
type Locks struct{ conn *conn }

// AcquireLock takes a lock for d, and reports whether this call got it. The
// lock ends by itself.
func (s *Locks) AcquireLock(ctx context.Context, name string, d time.Duration) (bool, error) {
	return s.conn.client.SetNX(ctx, keyLock+name, 1, d).Result()
}
