package daemon

import (
	"context"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

const (
	// idleAfter is how long the process is at rest before it returns memory to
	// the system.
	idleAfter         = 5 * time.Second
	idleCheckInterval = 500 * time.Millisecond
	// busyAllocRate, in bytes a second, is several times the rate of a daemon
	// at rest, and that of about fifty captures a second.
	busyAllocRate = 2 << 20

	// At rest a sidecar's memory matters more than the cost of collecting.
	idleGOGC = 50
	// At work GOGC allows busyGarbageBytes of garbage, up to maxBusyGOGC.
	maxBusyGOGC      = 400
	busyGarbageBytes = 24 << 20
)

// RunGCTuner adjusts the garbage collector of this process until ctx ends.
//
// A sidecar at rest has to be small, and Go keeps the memory of a burst for
// minutes. At work, frequent collections are the largest cost of a capture
// after the request itself. RunGCTuner therefore allows a fixed amount of
// garbage while the process allocates, and returns memory to the system once it
// is at rest. Only a collection wakes RunGCTuner, about once in minutes at
// rest. It does not change a GOGC that the operator set.
func RunGCTuner(ctx context.Context) {
	initialGOGC := debug.SetGCPercent(idleGOGC)
	tunable := initialGOGC == 100 // Go's default: the operator set none
	if !tunable {
		debug.SetGCPercent(initialGOGC)
	}
	collected := notifyAfterEachGC(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-collected:
		}
		if !tuneGCUntilIdle(ctx, collected, tunable) {
			return
		}
		if tunable {
			debug.SetGCPercent(idleGOGC)
		}
		debug.FreeOSMemory() // this collects as well, so drop its notification
		select {
		case <-ctx.Done():
			return
		case <-time.After(idleCheckInterval):
		}
		select {
		case <-collected:
		default:
		}
	}
}

// tuneGCUntilIdle returns when the process has been at rest for idleAfter.
// Until then it adjusts GOGC to the size of the heap. It returns false if ctx
// ends.
func tuneGCUntilIdle(ctx context.Context, collected <-chan struct{}, tunable bool) bool {
	allocated, live := readHeapStats()
	ticker := time.NewTicker(idleCheckInterval)
	defer ticker.Stop()
	for busyAt := time.Now(); time.Since(busyAt) < idleAfter; {
		if tunable {
			debug.SetGCPercent(
				max(idleGOGC, min(maxBusyGOGC, int(busyGarbageBytes*100/max(live, 1)))))
		}
		select {
		case <-ctx.Done():
			return false
		case <-collected:
			_, live = readHeapStats() // GOGC is relative to the heap, which may have grown
		case <-ticker.C:
			before := allocated
			allocated, live = readHeapStats()
			if allocated-before >
				busyAllocRate*uint64(idleCheckInterval)/uint64(time.Second) {
				busyAt = time.Now()
			}
		}
	}
	return true
}

func readHeapStats() (allocated, live uint64) {
	samples := []runtimemetrics.Sample{{Name: "/gc/heap/allocs:bytes"},
		{Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(samples)
	return samples[0].Value.Uint64(), samples[1].Value.Uint64()
}

// notifyAfterEachGC sends after each collection. It allocates an unreachable
// object, which the next collection removes.
func notifyAfterEachGC(ctx context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	var ended func(struct{})
	arm := func() { runtime.AddCleanup(new([64]byte), ended, struct{}{}) }
	ended = func(struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
		if ctx.Err() == nil {
			arm()
		}
	}
	arm()
	return c
}
