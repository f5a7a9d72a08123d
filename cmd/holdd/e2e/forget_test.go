package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// personalName is in everything that the booking system says about the guest.
const personalName = "Quisenberry"

// bookingReceiver is a booking system that accepts events only while it is up.
type bookingReceiver struct {
	*httptest.Server
	up     atomic.Bool
	mu     sync.Mutex
	bodies []string
}

func startBookingReceiver(t *testing.T) *bookingReceiver {
	b := &bookingReceiver{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !b.up.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.bodies = append(b.bodies, string(body))
	}))
	t.Cleanup(b.Close)
	return b
}

// TestPersonalData_CommandsRun runs the commands of personal-data.md.
func TestPersonalData_CommandsRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRelease))
	pi := w.authorizeBookings(1)[0].id
	w.scheduleAll(r, []hold.ScheduleRequest{{PaymentIntent: pi, Reference: personalName,
		CaptureAt: formatTime(afterNow(time.Hour))}})
	storetest.WaitUntil(t, processTimeout, "the terms are in the metadata", func() bool {
		st, _ := w.sim.Intent(pi)
		return st.Metadata[hold.MetaReference] == personalName
	})
	now := formatTime(afterNow(0))
	if _, err := r.client.Patch(t.Context(), pi, hold.Patch{CaptureAt: &now}, 0); err != nil {
		t.Fatal(err)
	}
	w.waitForState(r, pi, hold.Captured, processTimeout)
	page := newPageCommands(t, "deploy/docs/personal-data.md", append(w.settings(),
		"HOLDD_URL="+r.url, "PI="+pi)...)
	page.run("Erase a hold", "holdd forget")
	v, err := r.client.Get(t.Context(), pi)
	if err != nil || v.Reference != "" {
		t.Errorf("%+v, %v", v, err)
	}
	page.run("What stays", "curl")
	if st, _ := w.sim.Intent(pi); st.Metadata[hold.MetaReference] != "" {
		t.Errorf("Stripe keeps %v", st.Metadata)
	}
}

// received returns the events that contain a text.
func (b *bookingReceiver) received(text string) (found []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, body := range b.bodies {
		if strings.Contains(body, text) {
			found = append(found, body)
		}
	}
	return found
}

// Nothing that the booking system said about the guest is left in Redis, and no
// comparison with Stripe brings it back. Events that were not delivered yet
// arrive without it.
func TestForget_ErasesPersonalData(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	raw := w.redis.Client()
	receiver := startBookingReceiver(t)
	r := w.startReplica(binaryPath(t, buildRelease), "HOLDD_CALLBACK_URL="+receiver.URL,
		"HOLDD_CALLBACK_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjU",
		"HOLDD_LOG_REFERENCES=false")
	storetest.WaitUntil(t, processTimeout, "the deliverer has begun", func() bool {
		return raw.HExists(t.Context(), "holdd:{0}:sink:callback", "state").Val()
	})
	b := w.authorizeBookings(1)[0]
	w.schedulePersonal(r, b)
	w.mustDo(raw, "XADD", "holdd:inbox", "*", "hold", fmt.Sprintf(
		`{"payment_intent":%q,"capture_at":"never","reference":%q}`, b.id, personalName))
	storetest.WaitUntil(t, processTimeout, "the entry is rejected", func() bool {
		return raw.XLen(t.Context(), "holdd:inbox:rejected").Val() == 1
	})
	_, err := r.client.ErasePersonalData(t.Context(), b.id)
	if !errors.Is(err, &api.Problem{Code: hold.NotSettled}) {
		t.Errorf("an open hold was forgotten: %v", err)
	}
	storetest.WaitUntil(t, processTimeout, "the reference is in the metadata", func() bool {
		in, _ := w.sim.Intent(b.id)
		return strings.Contains(in.Metadata[hold.MetaReference], personalName)
	})
	if _, err := r.client.Capture(t.Context(), b.id, hold.CaptureRequest{}, 0); err != nil {
		t.Fatal(err)
	}
	w.waitForState(r, b.id, hold.Captured, processTimeout)
	if places := placesInRedis(t, raw, personalName); len(places) < 4 {
		t.Fatalf("the name is only in %v: the test has lost its subject", places)
	}

	forget := exec.CommandContext(t.Context(), binaryPath(t, buildRelease), "forget", b.id, "--yes")
	forget.Env = append(os.Environ(), "HOLDD_URL="+r.url)
	if out, err := forget.CombinedOutput(); err != nil {
		t.Fatalf("holdd forget: %v\n%s", err, out)
	}
	for range 2 { // a repeated request has the same answer
		v, err := r.client.ErasePersonalData(t.Context(), b.id)
		if err != nil || v.Reference != "" || len(v.Metadata) > 0 || v.State != "captured" ||
			v.CapturedAmount != b.amount {
			t.Fatalf("forgotten: %+v, %v", v, err)
		}
	}
	if _, _, err := r.client.StartReconcile(t.Context(), false, nil); err != nil {
		t.Fatal(err)
	}
	storetest.WaitUntil(t, processTimeout, "the comparison has ended", func() bool {
		run, err := r.client.GetReconciliation(t.Context(), "")
		return err == nil && run.State == "finished"
	})
	if places := placesInRedis(t, raw, personalName); len(places) > 0 {
		t.Errorf("the name is still in %v", places)
	}
	receiver.up.Store(true)
	storetest.WaitUntil(t, 2*processTimeout, "the events arrive", func() bool {
		return len(receiver.received("hold.scheduled")) > 0 &&
			len(receiver.received("hold.captured")) > 0
	})
	if got := receiver.received(personalName); len(got) > 0 {
		t.Errorf("events that were sent after the request: %v", got)
	}
	if got := receiver.received("sink.events_lost"); len(got) > 0 {
		t.Errorf("a deleted event counts as lost: %v", got)
	}
	if r.log.countLines(personalName) > 0 {
		t.Error("the log has the name")
	}
}

// schedulePersonal schedules a hold whose request, with an idempotency key, is
// about a guest.
func (w *world) schedulePersonal(r *replica, b booking) {
	w.tb.Helper()
	body := fmt.Sprintf(`{"payment_intent":%q,"reference":"%s 7731","capture_at":%q,
		"metadata":{"guest":%q},"capture_metadata":{"guest":%q}}`, b.id, personalName,
		formatTime(afterNow(time.Hour)), personalName, personalName)
	req, err := http.NewRequestWithContext(w.tb.Context(), http.MethodPost, r.url+"/v1/holds",
		strings.NewReader(body))
	if err != nil {
		w.tb.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "booking-7731-0001")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.tb.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		w.tb.Fatalf("schedule: %s", resp.Status)
	}
}

// placesInRedis returns the keys whose name or value contains a text.
func placesInRedis(t *testing.T, c *redis.Client, text string) (places []string) {
	t.Helper()
	ctx := t.Context()
	keys, err := c.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		value, err := valueOf(ctx, c, key)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(key+value, text) {
			places = append(places, key)
		}
	}
	return places
}

// valueOf returns the whole value of a key as text.
func valueOf(ctx context.Context, c *redis.Client, key string) (string, error) {
	kind, err := c.Type(ctx, key).Result()
	if err != nil {
		return "", err
	}
	var value any
	switch kind {
	case "string":
		value, err = c.Get(ctx, key).Result()
	case "hash":
		value, err = c.HGetAll(ctx, key).Result()
	case "zset":
		value, err = c.ZRange(ctx, key, 0, -1).Result()
	case "set":
		value, err = c.SMembers(ctx, key).Result()
	case "list":
		value, err = c.LRange(ctx, key, 0, -1).Result()
	case "stream":
		value, err = c.XRange(ctx, key, "-", "+").Result()
	case "none": // it expired meanwhile
		return "", nil
	default:
		return "", fmt.Errorf("key %s of type %s", key, kind)
	}
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return fmt.Sprint(value), err
}
