package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

// ServerProperty is one property of a Redis server, and what is wrong with it.
type ServerProperty struct {
	Value   string // as the server tells it; empty if it doesn't
	Fault   string // holds would be lost: [Open] refuses such a server unless told otherwise
	Warning string // to be looked at
	Hint    string // what to do about either
}

// Server is what one Redis server tells of itself. What it hides is zero.
type Server struct {
	Address     string
	Version     ServerProperty
	Eviction    ServerProperty
	Persistence ServerProperty
	Disk        ServerProperty // how writing to disk goes; Open doesn't ask
	Role        string         // master or slave
	Followers   int            // replicas that follow it
	Used, Limit int64          // bytes of memory: used, and maxmemory
	Machine     int64          // bytes of memory that the machine has

	RoundTrip time.Duration // the best of a few
	// The server's clock minus this machine's lies between these two.
	ClockMin, ClockMax time.Duration
	ClockKnown         bool

	User             string   // as whom this process is known there
	MissingCommands  []string // commands that the user may not use on the keys holdd:…
	PermissionsKnown bool     // false before Redis 7.0, which can't be asked
}

// Replica is a holdd that has reported, and is expected to report again until the time given.
type Replica struct {
	Name  string
	Until time.Time
}

// Inspection is what can be learned of a Redis without changing it.
type Inspection struct {
	Address    string // the URL, without its password
	Cluster    bool
	Servers    []Server // of a Cluster its masters
	Partitions string   // as recorded; empty: no holdd has run on it yet
	Mode       string   // test or live, as recorded; empty likewise
	Now        time.Time
	Replicas   []Replica // at most 100, the freshest first; those that took their leave are not among them
}

const (
	inspectedReplicas = 100
	clockSamples      = 3
)

// Inspect looks at the Redis of these options without writing to it, whatever is wrong with it: also one that [Open] would refuse. What could
// be learned until an error is returned as well. Errors say what to do, and hold no password.
func Inspect(ctx context.Context, o Options) (in Inspection, err error) {
	in.Address = redactURL(o.URL)
	rdb, err := newClient(o)
	if err != nil {
		return in, err
	}
	defer rdb.Close() // it was only read from: there is nothing to lose
	if err := rdb.Ping(ctx).Err(); err != nil {
		return in, fmt.Errorf("the Redis at %s does not answer: start it, or set redis_url: %w", in.Address, err)
	}
	var mu sync.Mutex
	look := func(ctx context.Context, c *redis.Client) error {
		s := examineServer(ctx, c)
		s.checkPermissions(ctx, c)
		err := s.measureClock(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		in.Servers = append(in.Servers, s)
		return err
	}
	switch c := rdb.(type) {
	case *redis.ClusterClient:
		in.Cluster = true
		err = c.ForEachMaster(ctx, look)
	case *redis.Client:
		err = look(ctx, c)
	}
	if err != nil {
		return in, fmt.Errorf("not every Redis server could be examined: %w", err)
	}
	slices.SortFunc(in.Servers, func(a, b Server) int { return cmp.Compare(a.Address, b.Address) })
	for key, to := range map[string]*string{keyPartitions: &in.Partitions, keyMode: &in.Mode} {
		if *to, err = rdb.Get(ctx, key).Result(); err != nil && err != redis.Nil {
			return in, fmt.Errorf("this Redis can't be read: %w", err)
		}
	}
	if in.Now, err = rdb.Time(ctx).Result(); err != nil {
		return in, fmt.Errorf("this Redis can't be read: %w", err)
	}
	alive, err := rdb.ZRevRangeWithScores(ctx, keyReplicas, 0, inspectedReplicas-1).Result()
	if err != nil {
		return in, fmt.Errorf("this Redis can't be read: %w", err)
	}
	for _, z := range alive {
		name, _ := z.Member.(string)
		in.Replicas = append(in.Replicas, Replica{Name: name, Until: time.UnixMilli(int64(z.Score))})
	}
	return in, nil
}

// examineServer asks one server what it is, and judges what decides whether holds are safe there. A managed Redis may hide its settings.
func examineServer(ctx context.Context, c *redis.Client) Server {
	info := map[string]string{}
	for _, section := range []string{"server", "memory", "persistence", "replication"} {
		text, err := c.Info(ctx, section).Result()
		if err != nil {
			continue
		}
		for line := range strings.Lines(text) {
			if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				info[k] = v
			}
		}
	}
	setting := func(name, fallback string) (string, bool) {
		if m, err := c.ConfigGet(ctx, name).Result(); err == nil {
			if v, ok := m[name]; ok {
				return v, true
			}
		}
		v, ok := info[fallback]
		return v, ok
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(info[name], 10, 64) // 0: not told
		return n
	}
	s := Server{Address: c.Options().Addr, User: cmp.Or(c.Options().Username, "default"), Role: info["role"], Followers: int(number("connected_slaves")),
		Used: number("used_memory"), Limit: number("maxmemory"), Machine: number("total_system_memory")}

	s.Version.Value = info["redis_version"]
	if v := s.Version.Value; v != "" && isTooOld(v) {
		s.Version.Fault, s.Version.Hint = "version "+v+" is too old", "holdd needs 6.2 or newer"
	}
	policy, known := setting("maxmemory-policy", "maxmemory_policy")
	s.Eviction.Value = policy
	switch {
	case !known:
		s.Eviction.Warning, s.Eviction.Hint = "Redis hides maxmemory-policy", "make sure that it is noeviction"
	case policy != "noeviction":
		s.Eviction.Fault, s.Eviction.Hint = "maxmemory-policy is "+policy+", which evicts holds", "set it to noeviction"
	}
	aof, aofKnown := info["aof_enabled"]
	save, saveKnown := setting("save", "")
	const appendOnly = "set appendonly yes"
	p := &s.Persistence
	switch {
	case !aofKnown && !saveKnown:
		p.Warning, p.Hint = "Redis hides how it persists", "make sure that it writes to disk, best with appendonly yes"
	case aof == "1":
		p.Value = "append-only file"
	case saveKnown && save != "":
		p.Value, p.Warning, p.Hint = "snapshots", "Redis has snapshots but no append-only file, so what came since the last one is lost when it dies", appendOnly
	case !saveKnown:
		p.Warning = "Redis has no append-only file and hides whether it makes snapshots"
		p.Hint = "make sure that it writes to disk, best with appendonly yes"
	default:
		p.Value, p.Fault, p.Hint = "nothing", "nothing is written to disk", appendOnly
	}
	fsync, _ := setting("appendfsync", "")
	d := &s.Disk
	switch {
	case aof == "1" && info["aof_last_write_status"] == "err":
		d.Fault, d.Hint = "the last write to the append-only file went wrong, and Redis takes no changes until one succeeds", "make room on its disk and see its log"
	case aof != "1" && info["rdb_last_bgsave_status"] == "err":
		d.Fault, d.Hint = "the last snapshot went wrong", "make room on its disk and see its log"
	case info["aof_last_bgrewrite_status"] == "err":
		d.Warning, d.Hint = "the append-only file could not be rewritten, and grows", "make room on its disk and see its log"
	case aof == "1" && fsync == "no":
		d.Warning, d.Hint = "appendfsync is no, so that a crash of the machine loses what the kernel has not written yet", "set it to everysec or always"
	case aof == "1" && fsync != "":
		d.Value = "appendfsync " + fsync
	}
	return s
}

// measureClock measures the round trip, and the server's clock against this machine's.
func (s *Server) measureClock(ctx context.Context, c *redis.Client) error {
	for i := range clockSamples {
		sent := time.Now()
		there, err := c.Time(ctx).Result()
		if err != nil {
			return err
		}
		took := time.Since(sent)
		least, most := there.Sub(sent.Add(took)), there.Add(time.Microsecond).Sub(sent)
		if i == 0 || took < s.RoundTrip { // the shortest says the most
			s.RoundTrip, s.ClockMin, s.ClockMax, s.ClockKnown = took, least, most, true
		}
	}
	return nil
}

// commandsOutsideScripts are those that this package sends by itself; those of the scripts are found in the scripts.
var commandsOutsideScripts = []string{"EVAL", "EVALSHA", "GET", "HGET", "PING", "SADD", "SET", "SETNX", "SRANDMEMBER", "TIME",
	"XACK", "XADD", "XDEL", "XGROUP", "XINFO", "XLEN", "XRANGE", "ZADD", "ZCARD", "ZCOUNT", "ZRANGE", "ZRANGEBYSCORE", "ZREM", "ZREMRANGEBYSCORE", "ZREVRANGE"}

var redisCallPattern = regexp.MustCompile(`redis\.p?call\(\s*'([A-Za-z]+)'`)

// RequiredCommands are all that a Redis user of holdd's must be allowed to use, on the keys holdd:*.
func RequiredCommands() []string {
	all := map[string]bool{}
	for _, c := range commandsOutsideScripts {
		all[c] = true
	}
	files, err := lua.ReadDir("lua")
	if err != nil {
		panic(err) // embedded: the build is broken
	}
	for _, f := range files {
		src, err := lua.ReadFile("lua/" + f.Name())
		if err != nil {
			panic(err)
		}
		for _, m := range redisCallPattern.FindAllSubmatch(src, -1) {
			all[strings.ToUpper(string(m[1]))] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

var permissionsScript = script("permissions")

// checkPermissions asks which commands the user may not use. A server that doesn't let scripts ask leaves RightsKnown false.
func (s *Server) checkPermissions(ctx context.Context, c *redis.Client) {
	args := []any{partitionKeys(0).holds, budgetKeys("", hold.OpCapture)[1]}
	for _, name := range RequiredCommands() {
		args = append(args, name)
	}
	lacking, err := permissionsScript.Eval(ctx, c, nil, args...).StringSlice()
	switch {
	case err == redis.Nil: // before 7.0
	case err != nil && strings.HasPrefix(err.Error(), "NOPERM"):
		s.MissingCommands, s.PermissionsKnown = []string{"EVAL", "EVALSHA"}, true
	case err == nil:
		s.MissingCommands, s.PermissionsKnown = lacking, true
	}
}
