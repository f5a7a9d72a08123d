package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/stripesim"
)

// testIdle measures CPU and memory of a daemon with a thousand holds that are
// not due.
func testIdle(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Logf("not measured: this system tells nothing of its processes in /proc: %v", err)
		return
	}
	w := newWorld(t, stripesim.Options{Seed: 4})
	// to write a thousand holds' terms to Stripe is a minute's work, and not
	// idleness
	r := w.startReplica(binaryPath(t, buildRelease), "HOLDD_MIRROR_TERMS=false")
	all := setDueAt(w.authorizeBookings(1000), afterNow(24*time.Hour))

	// Idle is what comes after the work of taking them in: from when a second
	// brings less than a twentieth of one.
	const tick = time.Second / 100 // what the kernel counts in, for programs
	calm := func(d, most time.Duration) (used time.Duration, ok bool) {
		from, began := cpuTime(t, r.pid()), time.Now()
		storetest.WaitUntil(t, d+10*time.Second, "time goes by",
			func() bool { return time.Since(began) >= d })
		used = cpuTime(t, r.pid()) - from
		return used, used <= most
	}
	rest := func(d time.Duration) {
		storetest.WaitUntil(t, d+30*time.Second, "the daemon comes to rest",
			func() bool { _, ok := calm(d, time.Duration(d.Seconds()*5*float64(tick))); return ok })
	}
	// They come a few at a time, after the daemon has looked after what its
	// start left: memory has to be given back after a collection now and then
	// as well as after many in a row.
	rest(6 * time.Second)
	for some := range slices.Chunk(all, 100) {
		w.scheduleBookings(r, some)
		calm(600*time.Millisecond, 0)
	}
	rest(time.Second)
	const span = 10 * time.Second
	used, _ := calm(span, 0)
	rss := residentBytes(t, r.pid())
	t.Logf("idle with 1,000 holds: %.2f %% of one core, %.1f MB resident",
		100*used.Seconds()/span.Seconds(), float64(rss)/1e6)
	if used >= span/200 {
		t.Errorf("%s of CPU in %s: it has to be under 0.5 %%", used, span)
	}
	if rss >= 32e6 {
		t.Errorf("%d bytes resident: it has to be under 32 MB", rss)
	}
}

// cpuTime is what a process has used so far, in user and system mode. The
// kernel's count in ticks misses work that is shorter than one, and all of an
// idle daemon's is; what the scheduler counts for each thread is exact. Threads
// of a Go program stay.
func cpuTime(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		return cpuTimeFromTicks(tb, pid)
	}
	total := time.Duration(0)
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		used, _, _ := strings.Cut(string(b), " ")
		n, err := strconv.ParseInt(used, 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		total += time.Duration(n)
	}
	return total
}

// cpuTimeFromTicks is the same in whole hundredths of a second.
func cpuTimeFromTicks(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name before it may have spaces
	f := strings.Fields(rest)
	total := 0
	for _, at := range []int{11, 12} { // utime and stime, proc(5)
		n, err := strconv.Atoi(f[at])
		if err != nil {
			tb.Fatal(err)
		}
		total += n
	}
	return time.Duration(total) * time.Second / 100
}

// residentBytes is what a process has resident, in bytes.
func residentBytes(tb testing.TB, pid int) int64 {
	tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return kib << 10
}

func testSize(t *testing.T) {
	t.Parallel()
	info, err := os.Stat(binaryPath(t, buildRelease))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("stripped binary: %.1f MB", float64(info.Size())/1e6)
	if info.Size() >= 25e6 {
		t.Errorf("%d bytes: the stripped binary has to be under 25 MB", info.Size())
	}
}
