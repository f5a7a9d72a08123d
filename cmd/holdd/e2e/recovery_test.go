package e2e_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// pageCommands runs the commands of a page of deploy/docs.
type pageCommands struct {
	tb   testing.TB
	page string
	env  []string
}

// newPageCommands returns a runner whose commands find the built holdd.
func newPageCommands(tb testing.TB, page string, env ...string) *pageCommands {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.Symlink(binaryPath(tb, buildRelease), filepath.Join(dir, "holdd")); err != nil {
		tb.Fatal(err)
	}
	return &pageCommands{tb: tb, page: page,
		env: append(env, "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir)}
}

// run runs all blocks of commands below a heading that contain the text, and
// returns what they print. Each has to succeed.
func (p *pageCommands) run(heading, containing string) string {
	p.tb.Helper()
	_, section, ok := strings.Cut(read(p.tb, p.page), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var out strings.Builder
	found := false
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		if !strings.Contains(m[1], containing) {
			continue
		}
		found = true
		cmd := exec.CommandContext(p.tb.Context(), "bash", "-euo", "pipefail", "-c", m[1])
		cmd.Env, cmd.Dir = p.env, p.tb.TempDir()
		text, err := cmd.CombinedOutput()
		if err != nil {
			p.tb.Fatalf("%s, %s: %v\n%s\n%s", p.page, heading, err, m[1], text)
		}
		out.Write(text)
	}
	if !ok || !found {
		p.tb.Fatalf("%s has no commands with %q below %q", p.page, containing, heading)
	}
	return out.String()
}

// An old backup is restored. What happened since is found again at Stripe:
// nothing is captured twice, and a hold that the backup does not have is
// scheduled again.
func TestRecovery_BackupAndRestore(t *testing.T) {
	t.Parallel()
	for name, compareFirst := range map[string]bool{"compared first": true, "at once": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testRestore(t, compareFirst)
		})
	}
}

// testRestore restores a backup. compareFirst says that a replica that captures
// nothing by its schedule compares with Stripe first, as the page says. Without
// it, the holds that were captured since the backup are due at once.
func testRestore(t *testing.T, compareFirst bool) {
	w := newWorld(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRelease))
	w.waitForFirstReconcile(r)
	all := w.authorizeBookings(7)
	due, later, canceled, newest := setDueAt(all[:3], afterNow(8*time.Second)), all[3:5], all[5], all[6]
	w.scheduleBookings(r, due)
	setDueAt(all[3:6], afterNow(time.Hour))
	w.scheduleAll(r, requestsOf(all[3:6]))
	backup, newDir, newPort := t.TempDir(), t.TempDir(), freePort(t)
	page := newPageCommands(t, "deploy/docs/backup-and-restore.md", "REDIS_URL="+w.redis.URL(),
		"REDIS_DIR="+w.redis.Dir(), "BACKUP="+backup, "NEW_DIR="+newDir,
		fmt.Sprintf("NEW_PORT=%d", newPort))
	page.run("Back up", "--rdb")
	page.run("Back up", "appendonlydir")

	// What the backup does not have.
	w.waitForCaptures(r, len(due), 3*processTimeout)
	if _, err := r.client.Cancel(t.Context(), canceled.id, "", 0); err != nil {
		t.Fatal(err)
	}
	w.scheduleAll(r, requestsOf(setDueAt([]booking{newest}, afterNow(2*time.Hour))))
	storetest.WaitUntil(t, processTimeout, "it is released, and the new terms are at Stripe",
		func() bool {
			v := w.listByState(r, hold.Scheduled)[newest.id]
			return len(w.listByState(r, hold.Canceled)) == 1 && v.Mirrored
		})
	r.terminate(0)
	w.redis.Kill()

	page.run("Restore a backup", "dbfilename")
	t.Cleanup(func() {
		_ = exec.Command("redis-cli", "-p", fmt.Sprint(newPort), "shutdown", "nosave").Run()
	})
	restored := fmt.Sprintf("REDIS_URL=redis://127.0.0.1:%d", newPort)
	if compareFirst {
		careful := w.startReplica(binaryPath(t, buildRelease), restored,
			"HOLDD_SCHEDULE_CAPTURE=0 0 1 1 *")
		page.env = append(page.env, "HOLDD_URL="+careful.url)
		page.run("Restore a backup", "holdd plan")
		page.run("Restore from Stripe", "holdd reconcile")
		careful.terminate(0)
	}

	usual := w.startReplica(binaryPath(t, buildRelease), restored)
	storetest.WaitUntil(t, 3*processTimeout, "the captures are known again",
		func() bool { return len(w.listByState(usual, hold.Captured)) == len(due) })
	if !compareFirst { // the backup says that holdd has just compared
		page.env = append(page.env, "HOLDD_URL="+usual.url)
		page.run("Restore from Stripe", "holdd reconcile")
	}
	storetest.WaitUntil(t, 3*processTimeout, "the rest is known", func() bool {
		return len(w.listByState(usual, hold.Canceled)) == 1 &&
			len(w.listByState(usual, hold.Scheduled)) == len(later)+1
	})
	if open := w.listByState(usual, hold.Scheduled); len(open) != len(later)+1 ||
		open[newest.id].ID == "" {
		t.Errorf("%d holds are scheduled: %v", len(open), open)
	}
	if n := w.countCaptures(); n != len(due) {
		t.Errorf("%d captures of %d holds", n, len(due))
	}
	for _, b := range all[3:] {
		want := ""
		if b.id == canceled.id {
			want = fmt.Sprintf("canceled %d by api", b.amount)
		}
		if got := w.moneyEffects(b.id); got != want {
			t.Errorf("%s: %q, want %q", b.id, got, want)
		}
	}
	if n := len(w.listByState(usual, hold.Attention)); n > 0 {
		t.Errorf("%d holds require attention", n)
	}
}

// The new Redis follows the old one, and holdd moves to it with its holds.
func TestRecovery_MoveRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	next := storetest.Start(t)
	host, port, err := net.SplitHostPort(w.redis.Addr())
	if err != nil {
		t.Fatal(err)
	}
	page := newPageCommands(t, "deploy/docs/disaster-recovery.md", append(w.settings(),
		"NEW_REDIS_URL="+next.URL(), "OLD_HOST="+host, "OLD_PORT="+port)...)
	r := w.startReplica(binaryPath(t, buildRelease))
	all := setDueAt(w.authorizeBookings(5), afterNow(15*time.Second))
	page.run("Move to another Redis", "master_link_status")
	w.scheduleBookings(r, all) // written while the new Redis follows
	r.terminate(0)
	page.run("Move to another Redis", "replicaof no one")
	page.env = append(page.env, "REDIS_URL="+next.URL())
	page.run("Move to another Redis", "holdd doctor")
	page.run("Change the partitions", "holdd repartition")
	moved := w.startReplica(binaryPath(t, buildRelease), "REDIS_URL="+next.URL(),
		"HOLDD_PARTITIONS=4")
	w.waitForCaptures(moved, len(all), 3*processTimeout)
	w.checkCaptures(moved, all, exactlyOnce)
	page.run("Change the Stripe key or account", "holdd:account")
	if n := next.Client().Exists(t.Context(), "holdd:account").Val(); n != 0 {
		t.Error("the account is still recorded")
	}
	if err := w.redis.Client().Set(t.Context(), "holdd:x", 1, 0).Err(); err == nil {
		t.Error("the old Redis accepts writes")
	}
}

// Two properties with two Stripe accounts share one Redis server.
func TestRecovery_TwoProperties(t *testing.T) {
	t.Parallel()
	first, second := newWorld(t, unlimitedStripeOptions), newWorld(t, stripesim.Options{Seed: 2,
		EndpointRate: -1, OverallRate: -1})
	shared := strings.TrimSuffix(strings.TrimSuffix(first.redis.URL(), "/"), "/0")
	page := newPageCommands(t, "deploy/docs/disaster-recovery.md",
		append(first.settings(), "REDIS_URL="+shared)...)
	page.run("Two properties on one Redis", "holdd doctor")
	for i, w := range []*world{first, second} {
		r := w.startReplica(binaryPath(t, buildRelease), fmt.Sprintf("REDIS_URL=%s/%d", shared, i))
		all := setDueAt(w.authorizeBookings(3), afterNow(3*time.Second))
		w.scheduleBookings(r, all)
		w.waitForCaptures(r, len(all), 3*processTimeout)
		w.checkCaptures(r, all, exactlyOnce)
		if n := len(w.listByState(r, hold.Captured)); n != len(all) {
			t.Errorf("a property shows %d holds of %d", n, len(all))
		}
	}
}

// The commands of an upgrade work beside a running replica and on one.
func TestRecovery_Upgrade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRelease))
	storetest.WaitUntil(t, processTimeout, "it is ready",
		func() bool { ok, _ := r.readiness(); return ok })
	page := newPageCommands(t, "deploy/docs/upgrade.md", append(w.settings(), "HOLDD_URL="+r.url)...)
	page.run("Before", "holdd doctor")
	page.run("Upgrade", "/readyz")
}

// requestsOf returns requests to capture bookings at their times.
func requestsOf(all []booking) (reqs []hold.ScheduleRequest) {
	for _, b := range all {
		reqs = append(reqs, hold.ScheduleRequest{PaymentIntent: b.id, Amount: b.amount,
			Currency: "eur", ExpiresAt: formatTime(b.deadline), CaptureAt: formatTime(b.due)})
	}
	return reqs
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
