package e2e_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// Redis reaches maxmemory. Holds that it has are captured and canceled, also by
// a replica that starts then. New ones are refused with the cause, and accepted
// when there is room again.
func TestRedisFull_SettlesAndRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	raw := w.redis.Client()
	first := w.startReplica(binaryPath(t, buildRelease))
	all := setDueAt(w.authorizeBookings(8), afterNow(4*time.Second))
	canceled, late := all[6], all[7]
	w.scheduleBookings(first, all[:6])
	w.scheduleAll(first, []hold.ScheduleRequest{{PaymentIntent: canceled.id, Amount: canceled.amount,
		Currency: "eur", ExpiresAt: formatTime(canceled.deadline),
		CaptureAt: formatTime(afterNow(time.Hour))}})

	w.mustDo(raw, "CONFIG", "SET", "maxmemory", "1")
	second := w.startReplica(binaryPath(t, buildRelease))
	first.terminate(0)
	w.waitForCaptures(second, 6, 3*processTimeout)
	w.checkCaptures(second, all[:6], exactlyOnce)
	if _, err := second.client.Cancel(t.Context(), canceled.id, "", 0); err != nil {
		t.Errorf("the cancel of a hold: %v", err)
	}
	storetest.WaitUntil(t, processTimeout, "the hold is canceled",
		func() bool { return len(w.listByState(second, hold.Canceled)) == 1 })

	req := hold.ScheduleRequest{PaymentIntent: late.id, Amount: late.amount, Currency: "eur",
		ExpiresAt: formatTime(late.deadline), CaptureAt: formatTime(afterNow(time.Hour))}
	var problem *api.Problem
	_, _, err := second.client.Schedule(t.Context(), req)
	if !errors.As(err, &problem) || problem.Status != 507 || problem.Code != api.StorageFull ||
		!strings.Contains(problem.Detail, "raise maxmemory") {
		t.Errorf("a new hold: %v", err)
	}
	if _, err := second.client.ScheduleBatch(t.Context(), []hold.ScheduleRequest{req}); !errors.As(
		err, &problem) || problem.Code != api.StorageFull {
		t.Errorf("a batch of new holds: %v", err)
	}
	storetest.WaitUntil(t, processTimeout, "readiness says the cause", func() bool {
		ok, checks := second.readiness()
		return !ok && strings.Contains(checks["redis"].Detail, "Redis has reached maxmemory: "+
			"new holds are refused")
	})
	if ok, checks := second.readiness(); ok || !checks["stages"].OK {
		t.Errorf("a stage has stalled: %s", checks["stages"].Detail)
	}

	w.mustDo(raw, "CONFIG", "SET", "maxmemory", "0")
	w.scheduleAll(second, []hold.ScheduleRequest{req})
	storetest.WaitUntil(t, processTimeout, "it is ready again",
		func() bool { ok, _ := second.readiness(); return ok })
}

// Redis reaches maxmemory while Stripe authorizes a card. The hold is written,
// the answer has it, and so has the answer to a repeated request.
func TestRedisFull_PlacesAuthorized(t *testing.T) {
	t.Parallel()
	var full func() // runs before the answer to the first create
	var once sync.Once
	o := unlimitedStripeOptions
	o.FaultFunc = func(c stripesim.Call) stripesim.Fault {
		if c.Class == stripesim.ClassCreate {
			once.Do(func() { full() })
		}
		return stripesim.Fault{}
	}
	w := newWorld(t, o)
	raw := w.redis.Client()
	full = func() { w.mustDo(raw, "CONFIG", "SET", "maxmemory", "1") }
	r := w.startReplica(binaryPath(t, buildRelease))
	req := newAuthorizeRequest("pm_card_visa", afterNow(48*time.Hour))
	var id string
	for range 2 {
		a, err := r.client.Authorize(t.Context(), "click-full", req)
		if err != nil || a.Hold == nil || a.Status != "authorized" || id != "" && a.ID != id {
			t.Fatalf("an authorization without room: %+v, %v", a, err)
		}
		id = a.ID
	}
	if n := w.countAuthorizations(); len(n) != 1 || n[id] != 1 {
		t.Errorf("authorized %v", n)
	}
	var problem *api.Problem
	if _, err := r.client.Authorize(t.Context(), "click-new", req); !errors.As(err, &problem) ||
		problem.Code != api.StorageFull {
		t.Errorf("a new authorization: %v", err)
	}
	if n := w.countAuthorizations(); len(n) != 1 {
		t.Errorf("the refused one held money: %v", n)
	}
}

// A Redis user that may do nothing gets what doctor prints, and exactly that is
// enough for the daemon and for each of its checks.
func TestRedisACL_AsDoctorPrints(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	raw := w.redis.Client()
	w.mustDo(raw, "ACL", "SETUSER", restrictedUser, "reset", "on", ">pw")
	url := "REDIS_URL=" + w.redisURLOf(restrictedUser, "pw")
	bin := binaryPath(t, buildRelease)
	doctor := func() string {
		// The last of two settings with one name counts.
		_, out, errs := runHoldd(t, bin, append(w.settings(), url), "doctor")
		return out + errs
	}
	// PING is the first command that doctor needs.
	w.mustDo(raw, "ACL", "SETUSER", restrictedUser, "+ping", "+time", "+get", "~holdd:*")
	printed := regexp.MustCompile(`-> (ACL SETUSER holdd .*)`).FindStringSubmatch(doctor())
	if printed == nil {
		t.Fatalf("doctor prints no rule:\n%s", doctor())
	}
	w.mustDo(raw, "ACL", "SETUSER", restrictedUser, "reset", "on", ">pw")
	var rule []any
	for _, word := range strings.Fields(printed[1]) {
		rule = append(rule, word)
	}
	w.mustDo(raw, rule...)
	w.mustDo(raw, "ACL", "LOG", "RESET")

	out := doctor()
	if !strings.Contains(out, "the user holdd may do what holdd needs") ||
		strings.Contains(out, "hides") {
		t.Errorf("under the rule %s:\n%s", printed[1], out)
	}
	r := w.startReplica(bin, url)
	all := setDueAt(w.authorizeBookings(3), afterNow(3*time.Second))
	w.scheduleBookings(r, all)
	w.waitForCaptures(r, len(all), 3*processTimeout)
	storetest.WaitUntil(t, processTimeout, "it is ready",
		func() bool { ok, _ := r.readiness(); return ok })
	// The checks see a change.
	w.mustDo(raw, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	storetest.WaitUntil(t, 3*processTimeout, "readiness says the cause", func() bool {
		_, checks := r.readiness()
		return strings.Contains(checks["redis_settings"].Detail, "evicts holds")
	})
	w.mustDo(raw, "CONFIG", "SET", "maxmemory-policy", "noeviction")
	r.terminate(0)
	env := append(w.settings(), url)
	if code, out, errs := runHoldd(t, bin, env, "repartition", "--to", "4"); code != 0 {
		t.Errorf("repartition under the rule ended with %d:\n%s%s", code, out, errs)
	}
	if log, err := raw.Do(t.Context(), "ACL", "LOG").Slice(); err != nil || len(log) > 0 {
		for _, entry := range log {
			if text := strings.ToLower(fmt.Sprint(entry)); !strings.Contains(text, "setinfo") {
				t.Errorf("Redis refused a command: %v", text)
			}
		}
	}
}
