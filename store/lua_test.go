package store

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
)

// onEachLua runs a test on the Lua of Redis and on the one of miniredis.
func onEachLua(t *testing.T, f func(t *testing.T, c redis.UniversalClient)) {
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		c := storetest.StartUnix(t).Client()
		defer c.Close()
		f(t, c)
	})
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		m := storetest.StartInProcess(t)
		c := redis.NewClient(&redis.Options{
			Dialer: m.Dial, MaintNotificationsConfig: disabledMaintNotifications(),
		})
		defer c.Close()
		f(t, c)
	})
}

// evalWithDefinitions runs a script with the definitions that newScript adds.
func evalWithDefinitions(
	t testing.TB, c redis.UniversalClient, script string, args ...any,
) *scriptReply {
	t.Helper()
	r := newScriptReply(redis.NewScript(prependLuaDefinitions(script)).Eval(t.Context(), c, nil,
		args...))
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r
}

func TestHeaderFields_FollowEachOther(t *testing.T) {
	t.Parallel()
	next := 0
	for _, f := range headerFields {
		if f.offset != next {
			t.Errorf("%s begins at %d, the field before it ends at %d", f.name, f.offset, next)
		}
		next = f.offset + f.size
	}
	if next != headerSize {
		t.Errorf("the fields end at %d, the header at %d", next, headerSize)
	}
}

// Every constant and function can be loaded by itself, and a constant has Go's
// value in Lua.
func TestDefinitions_LoadInLua(t *testing.T) {
	t.Parallel()
	values := map[string]int{}
	for _, list := range [][]luaConstant{
		recordLayoutConstants(), resultConstants, chunkConstants, streamConstants,
		promoteConstants,
		writeArgs.luaConstants(), commitScriptKeyConstants(),
		advanceArgs.luaConstants(), shareArgs.luaConstants(), budgetConstants,
		conditionArgs.luaConstants(),
	} {
		for _, c := range list {
			if _, twice := values[c.name]; twice {
				t.Errorf("%s is defined twice", c.name)
			}
			values[c.name] = c.value
		}
	}
	for _, args := range []struct {
		scriptArgNames
		size int
	}{{writeArgs, writeSize}, {advanceArgs, advanceSize}, {conditionArgs, conditionSize},
		{shareArgs, shareSize}} {
		if args.size != len(args.names) {
			t.Errorf("%s has %d names, want %d", args.prefix, len(args.names), args.size)
		}
	}
	onEachLua(t, func(t *testing.T, c redis.UniversalClient) {
		for _, d := range luaDefinitions {
			want, isConstant := values[d.name]
			if isConstant {
				got := evalWithDefinitions(t, c, "return {"+d.name+"}").nextInt()
				if got != int64(want) {
					t.Errorf("%s is %d in Lua and %d in Go", d.name, got, want)
				}
				continue
			}
			got := evalWithDefinitions(t, c, "return {type("+d.name+")}").nextString()
			if got != "function" {
				t.Errorf("%s is a %s", d.name, got)
			}
		}
	})
}

// A name in capitals in a script is a constant that Go defines, so that a
// misspelled one is found.
func TestScripts_NameOnlyKnownConstants(t *testing.T) {
	t.Parallel()
	prefixes := []string{"WRITE_", "KEY_", "ADVANCE_", "CONDITION_", "SHARE_", "LOOKUP_",
		"CHANGE_", "STATE_", "RATE_", "FILL_", "CHUNK_"}
	files, err := luaFiles.ReadDir("lua")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name, isScript := strings.CutSuffix(file.Name(), ".lua")
		if !isScript {
			continue
		}
		for _, word := range strings.FieldsFunc(readLuaFile(name), func(r rune) bool {
			return r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9')
		}) {
			known := slices.ContainsFunc(luaDefinitions, func(d luaDefinition) bool {
				return d.name == word
			})
			isConstant := slices.ContainsFunc(prefixes,
				func(p string) bool { return strings.HasPrefix(word, p) && word != p })
			if isConstant && !known {
				t.Errorf("%s names %s, which is not defined", file.Name(), word)
			}
		}
		for _, section := range []string{"-- KEYS:", "-- ARGV:", "-- Reply:"} {
			if !strings.Contains(readLuaFile(name), section) {
				t.Errorf("%s has no section %q", file.Name(), section)
			}
		}
	}
}

// Lua and Go read the same values from a record's header, and Go can read the
// record of a claim.
func TestRecord_LuaAndGoAgree(t *testing.T) {
	t.Parallel()
	const script = `local rec, now = ARGV[1], tonumber(ARGV[2])
		return {tostring(is_readable(rec)), tostring(has_header(rec)), record_state(rec), record_previous_state(rec),
			record_next_op(rec), record_version(rec), record_claimed_at(rec), string.format('%.0f', record_deadline(rec)),
			record_lane(rec), tostring(is_final(record_state(rec))),
			claimed_record(rec, record_state(rec), record_version_number(rec), encode_uint48(now))}`
	now := time.Date(2026, 3, 1, 12, 0, 0, 7e6, time.UTC)
	check := func(t *rapid.T, c redis.UniversalClient, tb testing.TB, h hold.Hold) {
		rec := string(appendRecord(nil, &h))
		r := evalWithDefinitions(tb, c, script, rec, now.UnixMilli())
		got := fmt.Sprint(r.nextString(), r.nextString(), r.nextInt(), r.nextInt(), r.nextInt(),
			[]byte(r.nextString()), []byte(r.nextString()),
			r.nextString(), r.nextString(), r.nextString())
		deadline := int64(toMillis(h.ExpiresAt))
		since := make([]byte, 8)
		if h.State.IsFinal() {
			binary.BigEndian.PutUint64(since, toMillis(h.SettledAt))
		}
		want := fmt.Sprint("true", "true", int64(h.State), int64(h.PreviousState), int64(h.NextOp),
			[]byte(rec[versionOffset:claimedAtOffset]), since[2:], fmt.Sprint(deadline),
			laneNameOfOpAndAccount(h.NextOp, h.Account),
			fmt.Sprint(h.State.IsFinal()))
		if got != want {
			t.Fatalf("Lua reads\n%s, want\n%s", got, want)
		}
		if h.State.IsFinal() {
			return // never claimed
		}
		claimed, claimedAt, err := decodeRecord(h.ID, r.nextString())
		if err != nil || !claimedAt.Equal(now) || claimed.State != hold.Working ||
			claimed.PreviousState != h.State {
			t.Fatalf("claimed at %v: %v\n%+v", claimedAt, err, claimed)
		}
		claimed.State, claimed.PreviousState = h.State, h.PreviousState
		if back := string(appendRecord(nil, &claimed)); back != rec {
			t.Fatalf("the claim changed more than the claim:\n%x\n%x", back, rec)
		}
	}
	onEachLua(t, func(t *testing.T, c redis.UniversalClient) {
		rapid.Check(t, func(rt *rapid.T) { check(rt, c, t, anyHold().Draw(rt, "hold")) })
	})
}

func TestIsFinal_LuaAndGoAgree(t *testing.T) {
	t.Parallel()
	onEachLua(t, func(t *testing.T, c redis.UniversalClient) {
		for _, state := range hold.States() {
			got := evalWithDefinitions(t, c, "return {tostring(is_final(tonumber(ARGV[1])))}",
				int(state)).nextString()
			if got != fmt.Sprint(state.IsFinal()) {
				t.Errorf("%s: is_final is %s in Lua", state, got)
			}
		}
	})
}

// Lua and Go reject the same records.
func TestIsReadable_LuaAndGoAgree(t *testing.T) {
	t.Parallel()
	h := fullHold()
	rec := string(appendRecord(nil, &h))
	records := []string{"", "x", rec, "\x02" + rec[1:]}
	for offset := range versionOffset { // encoding, states and operation
		for _, value := range []string{"\x00", "\x09", "\x0a", "\x0c", "\x0d", "\xff"} {
			records = append(records, rec[:offset]+value+rec[offset+1:])
		}
	}
	for size := range headerSize + len(h.Account) + 1 {
		records = append(records, rec[:size])
	}
	onEachLua(t, func(t *testing.T, c redis.UniversalClient) {
		for _, rec := range records {
			_, _, err := decodeRecord(h.ID, rec)
			got := evalWithDefinitions(t, c, "return {tostring(is_readable(ARGV[1]))}",
				rec).nextString()
			if got != fmt.Sprint(err == nil) {
				t.Errorf("%x: is_readable is %s in Lua, Go says %v", rec, got, err)
			}
		}
	})
}
