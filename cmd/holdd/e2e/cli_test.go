package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// cliRunner runs commands of the command line.
type cliRunner struct {
	tb  testing.TB
	bin string
	env []string
}

// runCommand expects a command to end with a code, and its output to contain
// all of want.
func (d *cliRunner) runCommand(code int, args []string, want ...string) (stdout string) {
	d.tb.Helper()
	got, out, errs := runHoldd(d.tb, d.bin, d.env, args...)
	if got != code {
		d.tb.Fatalf("holdd %s: exit code %d, and it should be %d\n%s%s",
			strings.Join(args, " "), got, code, out, errs)
	}
	words := strings.Join(strings.Fields(out+errs), " ") // long sentences are wrapped
	for _, s := range want {
		if !strings.Contains(out+errs, s) && !strings.Contains(words, s) {
			d.tb.Errorf("holdd %s does not say %q:\n%s%s", strings.Join(args, " "), s, out, errs)
		}
	}
	return out
}

// showHold is a hold as --json shows it.
func (d *cliRunner) showHold(name string) (v hold.View) {
	d.tb.Helper()
	if err := json.Unmarshal([]byte(d.runCommand(0, []string{"show", name, "--json"})),
		&v); err != nil {
		d.tb.Fatal(err)
	}
	return v
}

func TestCLI_Commands(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripesim.Options{Seed: 8})
	bin := binaryPath(t, buildRelease)
	r := w.startReplica(bin)
	d := &cliRunner{t, bin, []string{"HOLDD_URL=" + r.url, "HOLDD_TIME_ZONE=Europe/Paris"}}
	all := w.authorizeBookings(4)
	moved := func(b booking) (kinds string, taken int64) {
		for _, e := range w.sim.Ledger() {
			if e.Intent == b.id && e.Kind != stripesim.EffectAuthorized {
				kinds += " " + string(e.Kind)
				if e.Kind == stripesim.EffectCaptured {
					taken += e.Amount
				}
			}
		}
		return strings.TrimSpace(kinds), taken
	}
	nothingMoved := func(when string) {
		t.Helper()
		for i, b := range all {
			if kinds, _ := moved(b); kinds != "" {
				t.Errorf("%s money of booking %d was %s", when, i, kinds)
			}
		}
	}

	// Amount, currency and deadline are not said: they come from Stripe.
	d.runCommand(0, []string{"schedule", all[0].id, "--capture-at", "+36h", "--reference", "BK-1"}, "BK-1 100.00 EUR scheduled: capture")
	d.runCommand(0, []string{"schedule", all[0].id, "--capture-at", formatOptionalTime(d.showHold("BK-1").CaptureAt), "--reference", "BK-1"}, "already scheduled")
	d.runCommand(0, []string{"schedule", all[1].id, "--cancel-at", "+2d", "--reference", "BK-2"}, "BK-2 100.01 EUR scheduled: cancel")
	d.runCommand(0, []string{"schedule", all[2].id, "--reference", "BK-3"}, "BK-3 100.02 EUR waiting")
	d.runCommand(0, []string{"list", "-o", "wide"}, "BK-1", "BK-2", "BK-3", all[0].id)
	if n := strings.Count(d.runCommand(0, []string{"list", "--state", "scheduled", "--json"}),
		"\n"); n != 2 {
		t.Errorf("%d holds are listed as scheduled, and 2 are", n)
	}
	d.runCommand(0, []string{"show", "BK-1"}, "100.00 EUR", "scheduled", "cli")
	if v := d.showHold("BK-1"); !v.Verified || v.ExpiresAtSource != "capture_before" ||
		!v.ExpiresAt.Equal(all[0].deadline) || v.Livemode {
		t.Errorf("the first hold is %+v", v)
	}

	// Change and pause: nothing moves, not even when the time of a paused hold
	// comes.
	d.runCommand(0, []string{"reschedule", "BK-1", "--capture-amount", "75.00", "--capture-at",
		"+24h"}, "75.00 EUR of 100.00 EUR scheduled")
	d.runCommand(0, []string{"pause", "BK-1"}, "paused")
	d.runCommand(0, []string{"pause", "BK-2"}, "paused")
	d.runCommand(5, []string{"pause", "BK-2"}, "already paused")
	d.runCommand(0, []string{"resume", "BK-2"}, "scheduled: cancel")
	d.runCommand(5, []string{"capture", "BK-1", "--yes"}, "is paused")
	d.runCommand(2, []string{"capture", "BK-3"}, "add --yes")
	// Of a hold that Stripe has confirmed, a dry run refuses what holdd refuses.
	raise := []string{"increment", "BK-3", "--amount", "200", "--yes"}
	d.runCommand(1, raise, "incremental authorization is unavailable")
	d.runCommand(1, append(raise, "--dry-run"), "be refused", "authorization is unavailable")
	d.runCommand(1, []string{"pause", "BK-1", "--dry-run"}, "be refused", "already paused")
	d.runCommand(0, []string{"pause", "BK-3", "--dry-run"}, "Would pause BK-3.")
	nothingMoved("before anything was asked for")

	// Money, at once and for real.
	d.runCommand(0, []string{"resume", "BK-1"}, "scheduled: capture")
	d.runCommand(0, []string{"capture", "BK-1", "--yes"}, "BK-1 75.00 EUR of 100.00 EUR captured")
	if kinds, taken := moved(all[0]); kinds != "captured released" || taken != 7500 {
		t.Errorf("the first booking is %q with %d taken, and 7500 should be, and the rest released",
			kinds, taken)
	}
	d.runCommand(0, []string{"capture", "BK-1", "--yes"}, "BK-1 75.00 EUR of 100.00 EUR captured")
	d.runCommand(5, []string{"capture", "BK-1", "--amount", "90", "--yes"}, "was captured")
	d.runCommand(0, []string{"capture", "BK-1", "--dry-run"}, "Would do nothing: BK-1 is captured")
	d.runCommand(1, []string{"capture", "BK-1", "--amount", "90", "--dry-run"}, "was captured")
	d.runCommand(0, []string{"cancel", "BK-2", "--yes"}, "BK-2 100.01 EUR canceled")
	if kinds, _ := moved(all[1]); kinds != "canceled" {
		t.Errorf("the second booking is %q, and should be canceled", kinds)
	}
	d.runCommand(5, []string{"capture", "BK-2", "--yes"}, "was canceled")
	d.runCommand(0, []string{"capture", "BK-3", "--amount", "40", "--yes"}, "captured")
	if kinds, taken := moved(all[2]); kinds != "captured released" || taken != 4000 {
		t.Errorf("the third booking is %q with %d taken, and 4000 should be", kinds, taken)
	}

	// A hold put to a moment from now is captured by the schedule.
	d.runCommand(0, []string{"schedule", all[3].id, "--capture-at", "+1d", "--reference", "BK-4"})
	d.runCommand(0, []string{"reschedule", "BK-4", "--capture-at",
		formatTime(afterNow(time.Second)), "--yes"}, "BK-4")
	storetest.WaitUntil(t, processTimeout, "it is captured at its time",
		func() bool { _, taken := moved(all[3]); return taken == all[3].amount })
	storetest.WaitUntil(t, processTimeout, "holdd knows",
		func() bool { return len(w.listByState(r, hold.Captured)) == 3 })
	if v := d.showHold("BK-4"); v.State != "captured" ||
		v.Cause != "schedule" || len(v.History) < 4 {
		t.Errorf("the last hold is %+v", v)
	}

	d.runCommand(3, []string{"show", "pi_3NobodyHasEverSeen00"}, "no hold")

	// Without a daemon: its own exit code, and nothing done.
	r.terminate(exitOK)
	d.runCommand(4, []string{"list"}, "does not answer", "is `holdd serve` running?")
}

func formatOptionalTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
