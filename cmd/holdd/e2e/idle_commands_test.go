package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/redis/go-redis/v9"
)

// idleCommandsPerSecond bounds what an idle daemon sends with a number of
// partitions. The first part is for what it does once, whatever their number.
func idleCommandsPerSecond(partitions int) float64 { return 6 + 2*float64(partitions) }

// An idle daemon with holds that fall due tomorrow and a callback sends Redis a
// few commands a second, and at most two more for each partition.
func TestIdle_SendsFewRedisCommands(t *testing.T) {
	for _, partitions := range []int{1, 64} {
		t.Run(fmt.Sprintf("%d partitions", partitions), func(t *testing.T) {
			t.Parallel()
			checkIdleCommands(t, partitions)
		})
	}
}

func checkIdleCommands(t *testing.T, partitions int) {
	w := newWorld(t, stripesim.Options{Seed: 5})
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	r := w.startReplica(binaryPath(t, buildRelease), "HOLDD_MIRROR_TERMS=false",
		"HOLDD_PARTITIONS="+strconv.Itoa(partitions),
		"HOLDD_CALLBACK_URL="+receiver.URL,
		"HOLDD_CALLBACK_SECRET=whsec_"+strings.Repeat("c2VjcmV0", 4))
	w.scheduleBookings(r, setDueAt(w.authorizeBookings(100), afterNow(24*time.Hour)))
	rdb := w.redis.Client()
	t.Cleanup(func() { rdb.Close() })

	// The daemon is idle once a span with two reports has few enough commands.
	const span = 30 * time.Second
	counts, perSecond := readCommandStats(t, rdb), 0.0
	began := time.Now()
	storetest.WaitUntil(t, 6*span, "a span with few commands", func() bool {
		seconds := time.Since(began).Seconds()
		if seconds < span.Seconds() {
			return false
		}
		before := counts
		counts, began = readCommandStats(t, rdb), time.Now()
		perSecond = 0
		for name, n := range counts {
			if n > before[name] {
				perSecond += float64(n-before[name]) / seconds
				t.Logf("%.2f %s", float64(n-before[name])/seconds, name)
			}
		}
		t.Logf("%.1f commands a second", perSecond)
		return perSecond <= idleCommandsPerSecond(partitions)
	})
}

// readCommandStats returns how often each command was executed, by a client or
// by a script.
func readCommandStats(t *testing.T, rdb *redis.Client) map[string]int64 {
	t.Helper()
	text, err := rdb.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int64{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		count, _, _ := strings.Cut(rest, ",")
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		counts[name] = n
	}
	return counts
}
