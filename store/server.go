package store

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

// RedisServerProperty is a property of a Redis server, with the problem if it
// has one.
type RedisServerProperty struct {
	Value   string // empty if the server hides it
	Fault   string // makes Redis lose holds: [Open] fails, unless AllowUnsafe is set
	Warning string // needs to be checked by the operator
	Hint    string // what to do about the fault or the warning
}

// RedisServer describes one Redis server. Values that the server hides are
// zero.
type RedisServer struct {
	Address           string
	Version           RedisServerProperty
	Eviction          RedisServerProperty
	Persistence       RedisServerProperty
	Disk              RedisServerProperty // [Open] does not check it
	Role              string              // master or slave
	ConnectedReplicas int
	UsedMemory        int64 // bytes
	MaxMemory         int64 // bytes, the setting maxmemory
	MachineMemory     int64 // bytes of the server's machine

	RoundTrip time.Duration // the shortest of several
	// The server's clock minus this machine's clock is between Min and Max.
	ClockOffsetMin, ClockOffsetMax time.Duration
	ClockOffsetKnown               bool

	User            string   // the Redis user of this process
	MissingCommands []string // required commands that the user may not use on the keys holdd:*
	// MissingCheckCommands are those of [OptionalRedisCommands] that the user
	// may not use.
	MissingCheckCommands []string
	PermissionsKnown     bool // false before Redis 7.0, which cannot check permissions
}

// inspectServer reads the properties that decide whether holds are safe on a
// server.
func inspectServer(ctx context.Context, c *redis.Client) RedisServer {
	info := readServerInfo(ctx, c)
	return RedisServer{
		Address:           c.Options().Addr,
		Version:           info.versionProperty(),
		Eviction:          info.evictionProperty(),
		Persistence:       info.persistenceProperty(),
		Disk:              info.diskProperty(),
		Role:              info.info["role"],
		ConnectedReplicas: int(info.infoNumberOrZero("connected_slaves")),
		UsedMemory:        info.infoNumberOrZero("used_memory"),
		MaxMemory:         info.infoNumberOrZero("maxmemory"),
		MachineMemory:     info.infoNumberOrZero("total_system_memory"),
		User:              cmp.Or(c.Options().Username, "default"),
	}
}

// serverInfo has the replies to INFO and CONFIG GET. A managed Redis may hide
// some values.
type serverInfo struct {
	info   map[string]string
	config map[string]string
}

func readServerInfo(ctx context.Context, c *redis.Client) serverInfo {
	p := serverInfo{info: map[string]string{}, config: map[string]string{}}
	for _, section := range []string{"server", "memory", "persistence", "replication"} {
		text, err := c.Info(ctx, section).Result()
		if err != nil {
			continue
		}
		for line := range strings.Lines(text) {
			if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				p.info[k] = v
			}
		}
	}
	for _, name := range []string{"maxmemory-policy", "save", "appendfsync"} {
		if found, err := c.ConfigGet(ctx, name).Result(); err == nil {
			maps.Copy(p.config, found)
		}
	}
	return p
}

func (p serverInfo) infoNumberOrZero(name string) int64 {
	n, _ := strconv.ParseInt(p.info[name], 10, 64) // 0 if it is not shown
	return n
}

func (p serverInfo) versionProperty() RedisServerProperty {
	v := p.info["redis_version"]
	if v != "" && isRedisVersionTooOld(v) {
		return RedisServerProperty{
			Value: v,
			Fault: "version " + v + " is too old",
			Hint:  "upgrade Redis to 6.2 or newer",
		}
	}
	return RedisServerProperty{Value: v}
}

func (p serverInfo) evictionProperty() RedisServerProperty {
	policy, known := p.config["maxmemory-policy"]
	if !known {
		policy, known = p.info["maxmemory_policy"]
	}
	switch {
	case !known:
		return RedisServerProperty{
			Warning: "Redis hides maxmemory-policy",
			Hint:    "check that it is noeviction",
		}
	case policy != "noeviction":
		return RedisServerProperty{
			Value: policy,
			Fault: "maxmemory-policy is " + policy + ", which evicts holds",
			Hint:  "set maxmemory-policy to noeviction",
		}
	}
	return RedisServerProperty{Value: policy}
}

func (p serverInfo) persistenceProperty() RedisServerProperty {
	const (
		useAOF   = "set appendonly to yes"
		checkAOF = "check that it writes to disk, preferably with appendonly yes"
	)
	aof, aofKnown := p.info["aof_enabled"]
	save, saveKnown := p.config["save"]
	switch {
	case !aofKnown && !saveKnown:
		return RedisServerProperty{Warning: "Redis hides how it persists", Hint: checkAOF}
	case aof == "1":
		return RedisServerProperty{Value: "append-only file"}
	case saveKnown && save != "":
		return RedisServerProperty{
			Value: "snapshots",
			Warning: "Redis has snapshots but no append-only file, " +
				"so a crash loses the writes since the last snapshot",
			Hint: useAOF,
		}
	case !saveKnown:
		return RedisServerProperty{
			Warning: "Redis has no append-only file and hides whether it makes snapshots",
			Hint:    checkAOF,
		}
	}
	return RedisServerProperty{Value: "nothing", Fault: "nothing is written to disk", Hint: useAOF}
}

func (p serverInfo) diskProperty() RedisServerProperty {
	const freeDisk = "free space on the disk of Redis, and read its log"
	aof, fsync := p.info["aof_enabled"] == "1", p.config["appendfsync"]
	switch {
	case aof && p.info["aof_last_write_status"] == "err":
		return RedisServerProperty{
			Fault: "the last write to the append-only file failed, " +
				"and Redis rejects writes until one succeeds",
			Hint: freeDisk,
		}
	case !aof && p.info["rdb_last_bgsave_status"] == "err":
		return RedisServerProperty{Fault: "the last snapshot failed", Hint: freeDisk}
	case p.info["aof_last_bgrewrite_status"] == "err":
		return RedisServerProperty{
			Warning: "the last rewrite of the append-only file failed, and the file grows",
			Hint:    freeDisk,
		}
	case aof && fsync == "no":
		return RedisServerProperty{
			Warning: "appendfsync is no, so a crash of the machine loses " +
				"the writes that the kernel has not flushed",
			Hint: "set appendfsync to everysec or always",
		}
	case aof && fsync != "":
		return RedisServerProperty{Value: "appendfsync " + fsync}
	}
	return RedisServerProperty{}
}

func isRedisVersionTooOld(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err1 == nil && err2 == nil && (a < 6 || a == 6 && b < 2)
}

const clockOffsetSamples = 3

// measureClockOffset measures the round trip and the difference between the
// server's clock and this machine's clock.
func (s *RedisServer) measureClockOffset(ctx context.Context, c *redis.Client) error {
	for i := range clockOffsetSamples {
		sent := time.Now()
		server, err := c.Time(ctx).Result()
		if err != nil {
			return err
		}
		took := time.Since(sent)
		if i == 0 || took < s.RoundTrip { // the shortest round trip is the most exact
			s.RoundTrip, s.ClockOffsetKnown = took, true
			s.ClockOffsetMin = server.Sub(sent.Add(took))
			s.ClockOffsetMax = server.Add(time.Microsecond).Sub(sent)
		}
	}
	return nil
}

// commandsOutsideScripts are the commands that Go sends.
var commandsOutsideScripts = []string{
	"EVAL", "EVALSHA", "EXPIRE", "GET", "HGET", "HGETALL", "HLEN", "HSCAN",
	"MGET", "PING", "SADD", "SET", "SRANDMEMBER", "SREM", "TIME",
	"XACK", "XADD", "XDEL", "XGROUP", "XINFO", "XLEN", "XRANGE", "XREVRANGE",
	"ZADD", "ZCARD", "ZCOUNT", "ZRANGE", "ZRANGEBYSCORE", "ZREM", "ZREMRANGEBYRANK",
	"ZREMRANGEBYSCORE", "ZREVRANGE", "ZSCAN",
}

// checkRedisCommands are the commands without which holdd serves, but not all of
// it: INFO and CONFIG GET are for the checks of the server, WATCH and the
// transaction for holdd repartition, and the last two for a Cluster.
var checkRedisCommands = []string{"INFO", "CONFIG|GET", "MULTI", "EXEC", "WATCH", "UNWATCH",
	"CLUSTER|SLOTS", "COMMAND"}

// OptionalRedisCommands returns the commands that the Redis user of holdd
// should be allowed to use beside [RequiredRedisCommands]: for the checks of
// the server, for holdd repartition and for a Cluster. CONTAINER|SUBCOMMAND is
// a subcommand.
func OptionalRedisCommands() []string { return slices.Sorted(slices.Values(checkRedisCommands)) }

var redisCallPattern = regexp.MustCompile(`redis\.p?call\(\s*'([A-Za-z]+)'`)

// RequiredRedisCommands returns the commands that the Redis user of holdd must
// be allowed to use on the keys holdd:*.
func RequiredRedisCommands() []string {
	all := map[string]bool{}
	for _, c := range commandsOutsideScripts {
		all[c] = true
	}
	err := fs.WalkDir(luaFiles, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		src, err := luaFiles.ReadFile(path)
		for _, m := range redisCallPattern.FindAllSubmatch(src, -1) {
			all[strings.ToUpper(string(m[1]))] = true
		}
		return err
	})
	if err != nil {
		panic(err) // the files are embedded
	}
	return slices.Sorted(maps.Keys(all))
}

var permissionsScript = newScript("permissions")

// readMissingCommands sets the required commands that the user may not use.
func (s *RedisServer) readMissingCommands(ctx context.Context, c *redis.Client) {
	args := []any{newPartitionKeys(0).holds, newBudgetKeys("", hold.OpCapture).kind}
	for _, name := range slices.Concat(RequiredRedisCommands(), checkRedisCommands) {
		args = append(args, name)
	}
	missing, err := permissionsScript.Eval(ctx, c, nil, args...).StringSlice()
	switch {
	case errors.Is(err, redis.Nil): // before 7.0
	case err != nil && strings.HasPrefix(err.Error(), "NOPERM"):
		s.MissingCommands, s.PermissionsKnown = []string{"EVAL", "EVALSHA"}, true
	case err == nil:
		s.PermissionsKnown = true
		for _, name := range missing {
			if slices.Contains(checkRedisCommands, name) {
				s.MissingCheckCommands = append(s.MissingCheckCommands, name)
			} else {
				s.MissingCommands = append(s.MissingCommands, name)
			}
		}
	}
}
