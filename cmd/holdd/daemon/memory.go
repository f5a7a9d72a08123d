package daemon

import (
	"context"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

const (
	memoryLook = 500 * time.Millisecond
	// busyRate is more than a daemon allocates at rest, several times over, and some fifty captures' worth; bytes a second.
	busyRate = 2 << 20
	// calmFor is how long nothing may be going on before memory is given back.
	calmFor = 5 * time.Second

	restPercent = 50  // GOGC at rest: a sidecar's memory matters more than the little that collecting sooner costs
	mostPercent = 400 // and at work, as long as the garbage stays under room
	room        = 24 << 20
)

// KeepSmall looks after the memory of this process until ctx ends. A sidecar that rests has to be small, and Go by itself would keep what a burst
// needed for minutes. Yet collecting soon while there is work is the largest single cost of a capture after the request itself (a quarter of the CPU
// time at GOGC=50, with a heap of a few MB): so there is room for garbage while something goes on, a fixed amount however large the heap. Where somebody chose
// GOGC, it stays.
func KeepSmall(ctx context.Context) {
	chosen := debug.SetGCPercent(restPercent)
	if chosen != 100 {
		debug.SetGCPercent(chosen)
	}
	percent := restPercent
	pace := func(to int) {
		if chosen == 100 && to != percent {
			debug.SetGCPercent(to)
			percent = to
		}
	}
	read := []runtimemetrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(read)
	before, worked, rested := read[0].Value.Uint64(), time.Now(), false
	t := time.NewTicker(memoryLook)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		runtimemetrics.Read(read)
		allocated, live := read[0].Value.Uint64(), read[1].Value.Uint64()
		switch {
		case allocated-before > busyRate*uint64(memoryLook)/uint64(time.Second):
			worked, rested = time.Now(), false
			pace(max(restPercent, min(mostPercent, int(room*100/max(live, 1)))))
		case !rested && time.Since(worked) > calmFor:
			rested = true
			pace(restPercent)
			debug.FreeOSMemory()
		}
		before = allocated
	}
}
