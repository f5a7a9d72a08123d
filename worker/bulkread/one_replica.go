package bulkread

import (
	"context"
	"time"
)

// JobLocks keeps the locks of jobs. store.Locks implements it.
type JobLocks interface {
	// AcquireLock acquires a lock for at most d and reports whether this call got
	// it.
	AcquireLock(ctx context.Context, name string, d time.Duration) (bool, error)
	// ReleaseLock ends a lock that the caller has acquired.
	ReleaseLock(ctx context.Context, name string) error
}

// RunOnOneReplica runs a job unless another replica is running it: both would send
// the same reads. A replica that dies keeps the others out for at most d. If the
// lock cannot be read, the job runs, because Redis may have lost one node only.
func RunOnOneReplica(
	ctx context.Context, locks JobLocks, job string, d time.Duration, run func(),
) {
	acquired, err := locks.AcquireLock(ctx, job, d)
	if err == nil && !acquired {
		return
	}
	run()
	if acquired {
		// An error leaves the lock to end by itself.
		_ = locks.ReleaseLock(context.WithoutCancel(ctx), job)
	}
}
