package daemon

import (
	"context"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

const (
	// idleAfter is how long nothing may be going on before memory is given
	// back.
	idleAfter = 5 * time.Second
	// idleCheckInterval is how often that is looked at.
	idleCheckInterval = 500 * time.Millisecond
	// busyAllocRate is more than a daemon allocates at rest, several times
	// over, and some fifty captures' worth; bytes a second.
	busyAllocRate = 2 << 20

	// GOGC at rest: a sidecar's memory matters more than the little that
	// collecting sooner costs
	idleGOGC         = 50
	maxBusyGOGC      = 400 // and at work, as long as the garbage stays under room
	busyGarbageBytes = 24 << 20
)

// TuneGC looks after the memory of this process until ctx ends. A sidecar that
// rests has to be small, and Go by itself would keep what a burst needed for
// minutes. Yet collecting soon while there is work is the largest single cost
// of a capture after the request itself (a quarter of the CPU time at GOGC=50,
// with a heap of a few MB): so there is room for garbage while something goes
// on, a fixed amount however large the heap. At rest this wakes up for nothing
// but the garbage collector, which then runs once in minutes; a burst may be
// over after one collection too, so each is followed up. Where somebody chose
// GOGC, it stays.
func TuneGC(ctx context.Context) {
	initialGOGC := debug.SetGCPercent(idleGOGC)
	if initialGOGC != 100 {
		debug.SetGCPercent(initialGOGC)
	}
	read := []runtimemetrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	readHeap := func() (allocated, live uint64) {
		runtimemetrics.Read(read)
		return read[0].Value.Uint64(), read[1].Value.Uint64()
	}
	collected := notifyCollections(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-collected:
		}
		allocated, live := readHeap()
		ticker := time.NewTicker(idleCheckInterval)
		for busyAt := time.Now(); time.Since(busyAt) < idleAfter; {
			if initialGOGC == 100 {
				debug.SetGCPercent(
					max(idleGOGC, min(maxBusyGOGC, int(busyGarbageBytes*100/max(live, 1)))))
			}
			select {
			case <-ctx.Done():
				ticker.Stop()
				return
			case <-collected:
				// a heap that has grown since must not have as much again
				// several times over
				_, live = readHeap()
			case <-ticker.C:
				before := allocated
				if allocated, live = readHeap(); allocated-before > busyAllocRate*uint64(
					idleCheckInterval)/uint64(time.Second) {
					busyAt = time.Now()
				}
			}
		}
		ticker.Stop()
		if initialGOGC == 100 {
			debug.SetGCPercent(idleGOGC)
		}
		debug.FreeOSMemory() // a collection as well, which says nothing of work
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

// notifyCollections tells of collections that have ended: an object that
// nothing refers to is gone after each.
func notifyCollections(ctx context.Context) <-chan struct{} {
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
