package store

import (
	"context"
	"embed"
	"io/fs"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxBatchSize is the maximum number of holds in one script call. Larger
// batches save few round trips and delay the other clients of Redis. Lua can
// unpack far more.
const maxBatchSize = 256

func clampBatchSize(n int) int { return max(1, min(n, maxBatchSize)) }

//go:embed lua
var luaFiles embed.FS

func readLuaFile(name string) string {
	src, err := fs.ReadFile(luaFiles, "lua/"+name+".lua")
	if err != nil {
		panic(err) // the files are embedded
	}
	return string(src)
}

// newScript returns the script in lua/NAME.lua with the definitions that it
// needs.
func newScript(name string) *redis.Script {
	return redis.NewScript(prependLuaDefinitions(readLuaFile(name)))
}

// scriptCall is one call of a script.
type scriptCall struct {
	keys []string
	args []any
}

// callScriptBatch sends calls of one script in one round trip to each server.
// The calls are independent, and each command has its own error.
// callScriptBatch sends the source to a server that does not have the script
// yet.
func (c *redisConn) callScriptBatch(
	ctx context.Context, script *redis.Script, calls []scriptCall,
) []*redis.Cmd {
	cmds := make([]*redis.Cmd, len(calls))
	if len(calls) == 1 {
		cmds[0] = script.Run(ctx, c.client, calls[0].keys, calls[0].args...)
		return cmds
	}
	all := make([]int, len(calls))
	for i := range all {
		all[i] = i
	}
	missing := c.evalShaBatchReturningNoScript(ctx, script, calls, all, cmds)
	for len(missing) > 0 {
		// One call sends the source to its server. The others would send it
		// again.
		first, call := missing[0], calls[missing[0]]
		cmds[first] = script.Eval(ctx, c.client, call.keys, call.args...)
		missing = c.evalShaBatchReturningNoScript(ctx, script, calls, missing[1:], cmds)
	}
	return cmds
}

// evalShaBatchReturningNoScript sends the calls with the given indexes without the source of
// the script. It returns those whose server does not have the script.
func (c *redisConn) evalShaBatchReturningNoScript(
	ctx context.Context, script *redis.Script, calls []scriptCall, indexes []int, cmds []*redis.Cmd,
) (missing []int) {
	if len(indexes) == 0 {
		return nil
	}
	pipe := c.client.Pipeline()
	for _, i := range indexes {
		cmds[i] = script.EvalSha(ctx, pipe, calls[i].keys, calls[i].args...)
	}
	// A command that was not sent has the error of the pipeline.
	if _, err := pipe.Exec(ctx); err == nil {
		return nil
	}
	for _, i := range indexes {
		if err := cmds[i].Err(); err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
			missing = append(missing, i)
		}
	}
	return missing
}

// callScript is callScriptBatch for a single call.
func (c *redisConn) callScript(
	ctx context.Context, script *redis.Script, keys []string, args ...any,
) *redis.Cmd {
	return c.callScriptBatch(ctx, script, []scriptCall{{keys: keys, args: args}})[0]
}

var (
	setMissingScript = newScript("set_missing")
	writeScript      = newScript("write")
)

// setNXEvenIfFull sets a string that does not exist yet, also if Redis has reached
// maxmemory, and reports whether it did. A ttl of 0 keeps it for good.
func (c *redisConn) setNXEvenIfFull(
	ctx context.Context, key, value string, ttl time.Duration,
) (bool, error) {
	n, err := c.callScript(ctx, setMissingScript, []string{key}, value, ttl.Milliseconds()).Int()
	return n == 1, err
}

// writeEvenIfFull runs one command that writes to one key, also if Redis has
// reached maxmemory. remove is the command that removes a member from the key.
func (c *redisConn) writeEvenIfFull(
	ctx context.Context, remove, command, key string, args ...any,
) error {
	args = append([]any{remove, command}, args...)
	return c.callScript(ctx, writeScript, []string{key}, args...).Err()
}

// scoreArg returns a time as the score of a sorted set, in milliseconds; "" for
// the zero time.
func scoreArg(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

func boolArg(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
