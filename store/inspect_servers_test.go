package store_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
)

// What is checked at the start can change while Redis runs.
func TestInspectServers(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t, "--maxmemory", "100mb")
	raw := r.Client()
	err := raw.Do(t.Context(), "ACL", "SETUSER", "holdd", "on", ">pw", "~holdd:*", "&*", "+@all").Err()
	if err != nil {
		t.Fatal(err)
	}
	url := strings.Replace(r.URL(), "redis://", "redis://holdd:pw@", 1)
	s := mustOpen(t, store.Options{URL: url})
	unsafe := mustOpen(t, store.Options{URL: url, AllowUnsafe: true})
	for _, tt := range []struct {
		change       []any
		want, unsafe string
	}{
		{[]any{"PING"}, "", ""},
		{[]any{"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"},
			"maxmemory-policy is allkeys-lru, which evicts holds: set maxmemory-policy to noeviction", ""},
		{[]any{"CONFIG", "SET", "maxmemory-policy", "noeviction"}, "", ""},
		{[]any{"ACL", "SETUSER", "holdd", "-zrem"},
			"the Redis user holdd may not use ZREM: grant what holdd doctor lists",
			"the Redis user holdd may not use ZREM: grant what holdd doctor lists"},
		{[]any{"ACL", "SETUSER", "holdd", "+zrem"}, "", ""},
	} {
		if err := raw.Do(t.Context(), tt.change...).Err(); err != nil {
			t.Fatal(err)
		}
		for s, want := range map[*store.Store]string{s: tt.want, unsafe: tt.unsafe} {
			faults, percent, err := s.ListServerFaultsAndMemoryUse(t.Context())
			if err != nil || strings.Join(faults, "|") != want || percent > 20 {
				t.Errorf("%v: %q, %d %%, %v", tt.change, faults, percent, err)
			}
		}
	}
	used := raw.InfoMap(t.Context(), "memory").Item("Memory", "used_memory")
	n, err := strconv.Atoi(used)
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.ConfigSet(t.Context(), "maxmemory", strconv.Itoa(2*n)).Err(); err != nil {
		t.Fatal(err)
	}
	// The connections of a busy server take more or less than a moment before.
	if _, percent, err := s.ListServerFaultsAndMemoryUse(t.Context()); err != nil || percent < 40 ||
		percent > 60 {
		t.Errorf("%d %%, %v", percent, err)
	}
}
