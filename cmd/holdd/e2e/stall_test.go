package e2e_test

import (
	"sync/atomic"
	"testing"
	"time"
)

// measureMachineStalls returns a function that reports for how long in all this
// machine ran nothing since the call. A virtual machine that is moved or shares
// its cores may stop for seconds. That is no lateness of holdd.
func measureMachineStalls(tb testing.TB) func() time.Duration {
	tb.Helper()
	const (
		look  = 20 * time.Millisecond
		usual = 10 * look // to be late by so much is what happens to one of many that are busy
	)
	var total atomic.Int64
	end := make(chan struct{})
	done := make(chan struct{})
	tb.Cleanup(func() { close(end); <-done })
	go func() {
		defer close(done)
		tick := time.NewTicker(look)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			now := time.Now()
			if late := now.Sub(last) - look; late > usual {
				total.Add(int64(late))
			}
			last = now
		}
	}()
	return func() time.Duration { return time.Duration(total.Load()) }
}
