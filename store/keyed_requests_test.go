package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
)

func TestKeyedRequests_Lookup(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, testKeyedRequestsLookup)
}

func testKeyedRequestsLookup(t *testing.T, e *testStore) {
	begin := func(id, digest string, lease time.Duration) (hold.AttemptLookupResult, string) {
		t.Helper()
		found, response, err := e.store.BeginRequest(t.Context(), id, digest, lease)
		if err != nil {
			t.Fatal(err)
		}
		return found, response
	}
	want := func(what string, found hold.AttemptLookupResult, response string,
		wantFound hold.AttemptLookupResult, wantResponse string) {
		t.Helper()
		if found != wantFound || response != wantResponse {
			t.Errorf("%s: %d %q", what, found, response)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	f, r := begin("a", "d1", time.Hour)
	want("new", f, r, hold.LookupCreated, "")
	f, r = begin("a", "d1", time.Hour)
	want("in progress", f, r, hold.LookupBusy, "")
	f, r = begin("a", "d2", time.Hour)
	want("another request", f, r, hold.LookupKeyReused, "")

	must(e.store.SaveResponse(t.Context(), "a", "d2", "of the other"))
	f, _ = begin("a", "d1", time.Hour)
	want("saved for another request", f, "", hold.LookupBusy, "")
	must(e.store.SaveResponse(t.Context(), "a", "d1", "200 {\"a\":\n1}"))
	f, r = begin("a", "d1", time.Hour)
	want("finished", f, r, hold.LookupFinished, "200 {\"a\":\n1}")
	f, r = begin("a", "d2", time.Hour)
	want("another request after the response", f, r, hold.LookupKeyReused, "")

	f, _ = begin("b", "d1", -time.Second)
	want("new", f, "", hold.LookupCreated, "")
	f, _ = begin("b", "d1", time.Hour)
	want("after the lease", f, "", hold.LookupCreated, "")
	must(e.store.ForgetRequest(t.Context(), "b", "d1"))
	f, _ = begin("b", "d2", time.Hour)
	want("forgotten", f, "", hold.LookupCreated, "")
	must(e.store.SaveResponse(t.Context(), "b", "d2", ""))
	f, r = begin("b", "d2", time.Hour)
	want("without a response", f, r, hold.LookupCreated, "")
}

// Requests are dropped after a day, and the oldest before the bounds.
func TestKeyedRequests_Bounds(t *testing.T) {
	t.Parallel()
	e := startRedis(t, store.Options{})
	ctx := t.Context()
	begin := func(ctx context.Context, id string) hold.AttemptLookupResult {
		t.Helper()
		found, _, err := e.store.BeginRequest(ctx, id, "digest", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	large := strings.Repeat("x", 16<<10)
	const n = 5000 // 80 MB, more than the bound
	for i := range n {
		id := fmt.Sprint("r", i)
		if found := begin(ctx, id); found != hold.LookupCreated {
			t.Fatal(id, found)
		}
		if err := e.store.SaveResponse(ctx, id, "digest", large); err != nil {
			t.Fatal(err)
		}
	}
	begin(ctx, "last")
	bytes, err := e.rdb.Get(ctx, "holdd:{requests}:bytes").Int64()
	if err != nil || bytes > 64<<20 {
		t.Errorf("%d bytes, %v", bytes, err)
	}
	kept, err := e.rdb.HGetAll(ctx, "holdd:{requests}:all").Result()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, v := range kept {
		sum += len(v)
	}
	if int64(sum) != bytes || len(kept) < 3000 || len(kept) >= n {
		t.Errorf("%d requests of %d bytes, counted as %d", len(kept), sum, bytes)
	}
	if found := begin(ctx, fmt.Sprint("r", n-1)); found != hold.LookupFinished {
		t.Errorf("the newest: %d", found)
	}
	if found := begin(ctx, "r0"); found != hold.LookupCreated {
		t.Errorf("the oldest: %d", found)
	}

	// A day later.
	old := fmt.Sprint("r", n-1)
	begun := redis.Z{Score: float64(time.Now().Add(-25 * time.Hour).UnixMilli()), Member: old}
	if err := e.rdb.ZAddXX(ctx, "holdd:{requests}:times", begun).Err(); err != nil {
		t.Fatal(err)
	}
	if found := begin(ctx, old); found != hold.LookupCreated {
		t.Errorf("after a day: %d", found)
	}
}
