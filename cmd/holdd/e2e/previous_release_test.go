package e2e_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

var previousCommit = flag.String("previous", "HEAD~1", "the commit that is the earlier release")

// buildPreviousRelease builds the previous commit. found is false without its
// sources: in an archive, or in a clone of the newest commit alone.
func buildPreviousRelease(t *testing.T) (path string, found bool) {
	t.Helper()
	const root = "../../.."
	if exec.Command("git", "-C", root, "cat-file", "-e", *previousCommit+"^{commit}").Run() != nil {
		return "", false
	}
	dir := t.TempDir()
	sources, path := filepath.Join(dir, "sources.tar"), filepath.Join(dir, "holdd-previous")
	for _, step := range [][]string{
		{"git", "-C", root, "archive", "-o", sources, *previousCommit},
		{"tar", "-x", "-C", dir, "-f", sources},
		// With the flags of buildRelease, which leave the directory out of what is
		// compiled, both share what they compile.
		{"go", "build", "-C", dir, "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", path,
			"./cmd/holdd"},
	} {
		cmd := exec.Command(step[0], step[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", step, err, out)
		}
	}
	return path, true
}

// The release before this one and this one share a Redis while this one is
// rolled out, rolled back and rolled out again under load. Each works on what
// the other wrote, and every booking is captured once.
func TestReleases_PreviousCommit(t *testing.T) {
	t.Parallel()
	previous, found := buildPreviousRelease(t)
	if !found {
		t.Logf("no commit %s here: this clone has no history", *previousCommit)
		return
	}
	w := newWorld(t, unlimitedStripeOptions)
	current := binaryPath(t, buildRelease)
	all := w.authorizeBookings(60)
	for i := range all {
		all[i].due = afterNow(time.Duration(2+i/3) * time.Second) // during all of the steps
	}
	for i := range all[:12] {
		all[i].due = afterNow(time.Hour)
	}
	pause, resume := func(r *replica, b booking) error {
		_, err := r.client.Pause(t.Context(), b.id, 0, false)
		return err
	}, func(r *replica, b booking) error {
		_, err := r.client.Resume(t.Context(), b.id, 0, false)
		return err
	}
	each := func(r *replica, of []booking, act func(*replica, booking) error) {
		t.Helper()
		for _, b := range of {
			if err := act(r, b); err != nil {
				t.Errorf("%s: %v", b.id, err)
			}
		}
	}

	first := w.startReplica(previous, highBudgetSettings...)
	w.scheduleRange(first, all, 0, 40)
	each(first, all[:6], pause)
	up := w.startReplica(current, highBudgetSettings...)
	w.scheduleRange(up, all, 40, 60)
	each(up, all[:6], resume)
	each(up, all[6:12], pause)
	w.waitForCaptures(up, 10, processTimeout)
	first.terminate(0)

	down := w.startReplica(previous, highBudgetSettings...)
	up.terminate(0)
	each(down, all[6:12], resume)
	each(down, all[:6], pause)
	w.waitForCaptures(down, len(all)-12, 2*processTimeout)

	again := w.startReplica(current, highBudgetSettings...)
	down.terminate(0)
	each(again, all[:6], resume)
	each(again, all[:12], func(r *replica, b booking) error {
		_, err := r.client.Capture(t.Context(), b.id, hold.CaptureRequest{}, 0)
		return err
	})
	for i := range all[:12] {
		all[i].due = time.Time{} // at once
	}
	w.waitForCaptures(again, len(all), 2*processTimeout)
	w.checkCapturedOnce(again, all)
}
