package store

import (
	"strings"
	"testing"
)

// uncountedScripts write and raise no counter of changes.
var uncountedScripts = map[string]string{
	"authorize_begin": "attempts are in no partition",
	"authorize_save":  "attempts are in no partition",
	"lower_rate":      "budgets are in no partition",
	"pause":           "budgets are in no partition",
	"reserve":         "budgets are in no partition",
	"reconcile_begin": "runs are in no partition",
	"reconcile_save":  "runs are in no partition",
	"request_begin":   "requests are in no partition",
	"request_save":    "requests are in no partition",
	"move_write":      "no replica runs",
	"audit_append":    "no replica polls the audit stream",
	"set_missing":     "it writes a property, not a partition",
	"move_delete":     "no replica runs",
	"heartbeat":       "heartbeats are in no partition",
	"read_settled":    "it removes what only a crash left",
	"sink_begin":      "only the replica with the lease reads it",
	"sink_save":       "only the replica with the lease reads it",
}

// A script that writes to a partition counts the change, so that replicas poll
// the partition again.
func TestScripts_CountChanges(t *testing.T) {
	t.Parallel()
	writes := []string{"ZADD", "ZREM", "ZREMRANGEBYSCORE", "HSET", "HDEL", "XADD", "XDEL", "SET"}
	files, err := luaFiles.ReadDir("lua")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		name, isScript := strings.CutSuffix(file.Name(), ".lua")
		if !isScript {
			continue
		}
		src := prependLuaDefinitions(readLuaFile(name)) // with the functions that it uses
		counts := strings.Contains(readLuaFile(name), "count_change(KEYS[")
		writesKey := false
		for _, c := range writes {
			writesKey = writesKey || strings.Contains(src, "redis.call('"+c+"'")
		}
		_, exempt := uncountedScripts[name]
		if exempt {
			found++
		}
		if writesKey == (counts == exempt) {
			t.Errorf("%s.lua: counts a change %t, exempt %t", name, counts, exempt)
		}
	}
	if found != len(uncountedScripts) {
		t.Errorf("%d of %d exempt scripts exist", found, len(uncountedScripts))
	}
}
