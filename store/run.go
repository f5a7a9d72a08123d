package store

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// scriptBatch is how many holds one script call takes on at the most: enough to make round trips cheap, few enough that Redis
// answers others in between, and far below what Lua can unpack.
const scriptBatch = 256

// partition tells where a hold lives: the same place for as long as the number of partitions stays.
func (s *Store) partition(id string) int { return partitionOf(id, len(s.parts)) }

func partitionOf(id string, partitions int) int {
	if partitions == 1 {
		return 0
	}
	f := fnv.New32a()
	f.Write([]byte(id))
	return int(f.Sum32() % uint32(partitions))
}

// scriptCall is one call of a script.
type scriptCall struct {
	keys []string
	args []any
}

// runScript sends calls of one script in a single round trip (one to each server of a Cluster). Their results are independent: a failing call
// has its error in its own command. A server that doesn't know the script yet is sent its text.
func (s *Store) runScript(ctx context.Context, script *redis.Script, runs []scriptCall) []*redis.Cmd {
	cmds := make([]*redis.Cmd, len(runs))
	if len(runs) == 1 {
		cmds[0] = script.Run(ctx, s.rdb, runs[0].keys, runs[0].args...)
		return cmds
	}
	pipe := s.rdb.Pipeline()
	for i, r := range runs {
		cmds[i] = script.EvalSha(ctx, pipe, r.keys, r.args...)
	}
	// Each command carries its own error, and one that never got to the wire carries the pipeline's.
	if _, err := pipe.Exec(ctx); err == nil {
		return cmds
	}
	for i, r := range runs {
		// One by one: a pipeline of many texts would be large, and this happens once to each script and server.
		if err := cmds[i].Err(); err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
			cmds[i] = script.Eval(ctx, s.rdb, r.keys, r.args...)
		}
	}
	return cmds
}

var errReply = errors.New("the Redis sent an answer that this holdd doesn't understand: is another program using its keys?")

// reply walks through the flat list that a script returns.
type reply struct {
	items []any
	err   error
}

func newReply(cmd *redis.Cmd) *reply {
	items, err := cmd.Slice()
	if err != nil {
		return &reply{err: err}
	}
	return &reply{items: items}
}

func (r *reply) more() bool { return r.err == nil && len(r.items) > 0 }

func (r *reply) next() any {
	if r.err != nil {
		return nil
	}
	if len(r.items) == 0 {
		r.err = errReply
		return nil
	}
	v := r.items[0]
	r.items = r.items[1:]
	return v
}

// str is the next item as a string; a nil is empty.
func (r *reply) str() string {
	switch v := r.next().(type) {
	case string:
		return v
	case nil:
		return ""
	default:
		r.err = errReply
		return ""
	}
}

func (r *reply) int() int64 {
	switch v := r.next().(type) {
	case int64:
		return v
	case string: // a score
		return r.score(v)
	default:
		if r.err == nil {
			r.err = errReply
		}
		return 0
	}
}

func (r *reply) score(s string) int64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		r.err = fmt.Errorf("%w (score %q)", errReply, s)
	}
	return int64(f)
}

func (r *reply) time() time.Time {
	n := r.int()
	if n <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// optionalTime is the next item as a score, zero if it is empty.
func (r *reply) optionalTime() time.Time {
	s := r.str()
	if s == "" || r.err != nil {
		return time.Time{}
	}
	return time.UnixMilli(r.score(s)).UTC()
}

func scoreArg(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

// splitBatches cuts a list into pieces of at most batch.
func splitBatches[T any](list []T) [][]T {
	var out [][]T
	for len(list) > scriptBatch {
		out = append(out, list[:scriptBatch:scriptBatch])
		list = list[scriptBatch:]
	}
	if len(list) > 0 {
		out = append(out, list)
	}
	return out
}

func laneName(op byte, account string) string {
	return strconv.Itoa(int(op)) + ":" + account
}

func parseLane(s string) (op byte, account string, ok bool) {
	o, account, ok := strings.Cut(s, ":")
	n, err := strconv.Atoi(o)
	return byte(n), account, ok && err == nil && n > 0 && n < 256
}
