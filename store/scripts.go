package store

import (
	"context"
	"embed"
	"io/fs"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxBatch is how many holds one script call handles at most: enough to make
// round trips cheap, few enough that Redis serves other clients in between, and
// far below what Lua can unpack.
const maxBatch = 256

func clampBatch(n int) int { return max(1, min(n, maxBatch)) }

//go:embed lua
var luaFiles embed.FS

func readLua(name string) string {
	src, err := fs.ReadFile(luaFiles, "lua/"+name+".lua")
	if err != nil {
		panic(err) // the files are embedded
	}
	return string(src)
}

// newScript loads lua/NAME.lua and the definitions that it names.
func newScript(name string) *redis.Script {
	return redis.NewScript(addDefinitions(readLua(name)))
}

// scriptCall is one call of a script.
type scriptCall struct {
	keys []string
	args []any
}

// runScript sends calls of one script in one round trip, or one to each server
// of a Cluster. The results are independent: each command carries its own
// error. A server that does not know the script yet is sent its source.
func (c *conn) runScript(
	ctx context.Context, script *redis.Script, calls []scriptCall,
) []*redis.Cmd {
	cmds := make([]*redis.Cmd, len(calls))
	if len(calls) == 1 {
		cmds[0] = script.Run(ctx, c.client, calls[0].keys, calls[0].args...)
		return cmds
	}
	pipe := c.client.Pipeline()
	for i, call := range calls {
		cmds[i] = script.EvalSha(ctx, pipe, call.keys, call.args...)
	}
	// A command that was never sent carries the error of the pipeline.
	if _, err := pipe.Exec(ctx); err == nil {
		return cmds
	}
	for i, call := range calls {
		// One by one: a pipeline of many sources is large, and this happens
		// once per script and server.
		if err := cmds[i].Err(); err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
			cmds[i] = script.Eval(ctx, c.client, call.keys, call.args...)
		}
	}
	return cmds
}

// runOnce is runScript for a single call.
func (c *conn) runOnce(
	ctx context.Context, script *redis.Script, keys []string, args ...any,
) *redis.Cmd {
	return c.runScript(ctx, script, []scriptCall{{keys: keys, args: args}})[0]
}

// scoreArg is a time as a sorted set's score, in milliseconds; "" for the zero
// time.
func scoreArg(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

func flagArg(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
