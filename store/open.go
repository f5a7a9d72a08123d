package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Options say which Redis to use and how. The zero value of each but URL works.
type Options struct {
	// URL is redis://, rediss://, unix://, redis+sentinel://host,…?master_name=… or redis+cluster://host,… (rediss+… with TLS).
	URL string
	// Partitions spread the holds over a Cluster; written to Redis once, and never to be changed by a setting. 0 means 1.
	Partitions int
	// Livemode marks this Redis as one of real or of test money; the other kind refuses to start on it.
	Livemode bool
	// AllowUnsafe accepts a Redis that may evict or forget, with a warning instead of an error.
	AllowUnsafe bool
	// Budget is shared by all replicas; its zero value sets no limit.
	Budget Budget
	// EventsMax is where a partition's stream of events is trimmed. 0 means 50,000.
	MaxEvents int
	// PoolSize bounds the connections to each Redis server. 0 means 16.
	PoolSize int
	// Dialer replaces the network, for a Redis in the same process.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Store keeps holds in Redis.
type Store struct {
	rdb       redis.UniversalClient
	parts     []keys
	eventsMax int
	budget    Budget
	identity  map[string]string // what stands in Redis about itself
}

//go:embed lua/*.lua
var lua embed.FS

func script(name string) *redis.Script {
	src, err := lua.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err) // embedded: the build is broken
	}
	return redis.NewScript(string(src))
}

var (
	promoteScript        = script("promote")
	claimScript          = script("claim")
	commitScript         = script("commit")
	readScript           = script("read")
	readDueScript        = script("read_due")
	advanceScript        = script("advance")
	pageScript           = script("page")
	reserveScript        = script("reserve")
	pauseScript          = script("pause")
	requestRefreshScript = script("request_refresh")
	inboxScript          = script("inbox")
)

// keys are the names of one partition's keys. This is the only place that makes them. All carry the same hash tag, so that
// a script finds them on one server of a Cluster.
type keys struct {
	holds, scheduled, leased, expiring, settled, attention, unverified, references, lanes, ready, events string
	mirror, refresh, unmatched                                                                           string
}

const (
	keyPartitions = "holdd:partitions"
	keyMode       = "holdd:mode"
	keyBudget     = "holdd:budget:"
	keyReplicas   = "holdd:replicas"
	keyPing       = "holdd:ping"
)

func partitionKeys(p int) keys {
	k := "holdd:{" + strconv.Itoa(p) + "}:"
	return keys{
		holds: k + "holds", scheduled: k + "scheduled", leased: k + "leased", expiring: k + "expiring", settled: k + "settled",
		attention: k + "attention", unverified: k + "unverified", references: k + "refs", lanes: k + "lanes", ready: k + "ready", events: k + "events",
		mirror: k + "mirror", refresh: k + "looks", unmatched: k + "heard",
	}
}

// Open connects, refuses a Redis that would lose holds, and makes sure that it is this daemon's kind. Warnings are for the log.
func Open(ctx context.Context, o Options) (s *Store, warnings []string, err error) {
	rdb, err := newClient(o)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, rdb.Close())
			s = nil
		}
	}()
	if o.Partitions == 0 {
		o.Partitions = 1
	}
	if o.MaxEvents == 0 {
		o.MaxEvents = 50_000
	}
	s = &Store{rdb: rdb, eventsMax: o.MaxEvents, budget: o.Budget, identity: map[string]string{}}
	for p := range o.Partitions {
		s.parts = append(s.parts, partitionKeys(p))
	}
	if err := rdb.Ping(ctx).Err(); err != nil {
		return nil, nil, fmt.Errorf("the Redis at %s does not answer: start it, or set redis_url: %w", redactURL(o.URL), err)
	}
	faults, warnings := s.findUnsafe(ctx)
	if len(faults) > 0 && !o.AllowUnsafe {
		return nil, nil, fmt.Errorf("this Redis would lose holds: %s (or set allow_unsafe_redis, if losing them is fine)", strings.Join(faults, "; "))
	}
	for _, f := range faults {
		warnings = append(warnings, "unsafe Redis allowed: "+f)
	}
	if err := s.recordOrCompare(ctx, keyPartitions, strconv.Itoa(o.Partitions), "this Redis is divided into %s partitions, the setting says %s: set partitions to what it is"); err != nil {
		return nil, nil, err
	}
	mode := "test"
	if o.Livemode {
		mode = "live"
	}
	if err := s.recordOrCompare(ctx, keyMode, mode, "this Redis keeps holds of %s mode, the Stripe key is for %s mode: set redis_url to another Redis, or stripe_api_key to a key of that mode"); err != nil {
		return nil, nil, err
	}
	return s, warnings, nil
}

// ErrSetting is wrapped by errors of [Open] that only another setting mends.
var ErrSetting = errors.New("")

func settingErrorf(format string, args ...any) error {
	return settingError{fmt.Errorf(format, args...)}
}

type settingError struct{ error }

func (e settingError) Unwrap() []error { return []error{e.error, ErrSetting} }

// recordOrCompare writes a fact about this Redis once; whoever says otherwise later is refused.
func (s *Store) recordOrCompare(ctx context.Context, key, value, sentence string) error {
	s.identity[key] = value
	if err := s.rdb.SetNX(ctx, key, value, 0).Err(); err != nil {
		return fmt.Errorf("this Redis can't be written: %w", err)
	}
	is, err := s.rdb.Get(ctx, key).Result()
	if err != nil {
		return fmt.Errorf("this Redis can't be read: %w", err)
	}
	if from, to, going := strings.Cut(is, repartitionSeparator); going && key == keyPartitions {
		return settingErrorf("this Redis is being divided from %s into %s partitions: let that end (holdd repartition --to %s goes on with it), then set partitions to %s", from, to, to, to)
	}
	if is != value {
		return settingErrorf(sentence, is, value)
	}
	return nil
}

// Close gives the connections back.
func (s *Store) Close() error { return s.rdb.Close() }

func newClient(o Options) (redis.UniversalClient, error) {
	if o.PoolSize == 0 {
		o.PoolSize = 16
	}
	scheme, rest, ok := strings.Cut(o.URL, "://")
	if !ok {
		return nil, settingErrorf("redis_url has no scheme: write it as redis://host:6379/0")
	}
	kind, wire := "", scheme
	if w, k, plus := strings.Cut(scheme, "+"); plus {
		kind, wire = k, w
	}
	plain, err := normalizeHosts(wire+"://"+rest, kind != "")
	if err != nil {
		return nil, err
	}
	// go-redis retries by itself after a lost connection. A claim whose reply was lost would be repeated and its first holds would wait for
	// their lease to end; everybody who calls this store tries again anyway, knowing what is at stake. (A Cluster's client still follows
	// redirections, and repeats what a dying connection swallowed: there such a wait can happen, and nothing else.)
	const noRetries = -1
	notices := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch kind {
	case "":
		ro, err := redis.ParseURL(plain)
		if err != nil {
			return nil, invalidURLError(err)
		}
		ro.MaxRetries, ro.PoolSize, ro.Dialer, ro.ContextTimeoutEnabled, ro.MaintNotificationsConfig = noRetries, o.PoolSize, o.Dialer, true, notices
		ro.DialerRetries = 1 // whoever calls tries again
		ro.ReadTimeout, ro.WriteTimeout, ro.DialTimeout = defaultTimeout(ro.ReadTimeout), defaultTimeout(ro.WriteTimeout), defaultTimeout(ro.DialTimeout)
		return redis.NewClient(ro), nil
	case "sentinel":
		fo, err := redis.ParseFailoverURL(plain)
		if err != nil {
			return nil, invalidURLError(err)
		}
		if fo.MasterName == "" {
			return nil, settingErrorf("redis_url: a sentinel URL needs ?master_name=…")
		}
		fo.MaxRetries, fo.PoolSize, fo.Dialer, fo.ContextTimeoutEnabled = noRetries, o.PoolSize, o.Dialer, true
		fo.DialerRetries = 1 // whoever calls tries again
		fo.ReadTimeout, fo.WriteTimeout, fo.DialTimeout = defaultTimeout(fo.ReadTimeout), defaultTimeout(fo.WriteTimeout), defaultTimeout(fo.DialTimeout)
		return redis.NewFailoverClient(fo), nil
	case "cluster":
		co, err := redis.ParseClusterURL(plain)
		if err != nil {
			return nil, invalidURLError(err)
		}
		co.MaxRetries, co.PoolSize, co.Dialer, co.ContextTimeoutEnabled, co.MaintNotificationsConfig = noRetries, o.PoolSize, o.Dialer, true, notices
		co.DialerRetries = 1 // whoever calls tries again
		co.ReadTimeout, co.WriteTimeout, co.DialTimeout = defaultTimeout(co.ReadTimeout), defaultTimeout(co.WriteTimeout), defaultTimeout(co.DialTimeout)
		return redis.NewClusterClient(co), nil
	default:
		return nil, settingErrorf("redis_url: scheme %q is unknown: use redis, rediss, unix, redis+sentinel or redis+cluster", scheme)
	}
}

// defaultTimeout bounds a time-out that a URL left open. A claim's reply must be here long before its lease ends.
func defaultTimeout(d time.Duration) time.Duration {
	if d == 0 {
		return 3 * time.Second
	}
	return d
}

// normalizeHosts turns host,host,… into what go-redis understands: the first host, the rest as addr parameters.
func normalizeHosts(raw string, many bool) (string, error) {
	u, err := url.Parse(raw)
	if err != nil && many {
		// Several host:port pairs are no valid authority; take them apart by hand.
		return splitHosts(raw)
	}
	if err != nil {
		return "", invalidURLError(err)
	}
	if strings.Contains(u.Host, ",") {
		return splitHosts(raw)
	}
	return raw, nil
}

func splitHosts(raw string) (string, error) {
	scheme, rest, _ := strings.Cut(raw, "://")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	auth, tail := rest[:end], rest[end:]
	user := ""
	if i := strings.LastIndex(auth, "@"); i >= 0 {
		user, auth = auth[:i+1], auth[i+1:]
	}
	hosts := strings.Split(auth, ",")
	q := "?"
	if strings.Contains(tail, "?") {
		q = "&"
	}
	for _, h := range hosts[1:] {
		tail += q + "addr=" + url.QueryEscape(h)
		q = "&"
	}
	return scheme + "://" + user + hosts[0] + tail, nil
}

// invalidURLError says that a URL can't be used. What url.Parse says of it may quote the password; what go-redis says of parameters may not.
func invalidURLError(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return settingErrorf("%s", "redis_url is no URL: write it as redis://user:password@host:6379/0, and percent-encode / ? # @ : and % in the password")
	}
	return settingErrorf("redis_url can't be used: %w", err)
}

func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "redis_url"
	}
	u.RawQuery = ""
	return u.Redacted()
}

// findUnsafe lists what makes this Redis forget, and what could not be found out. A managed Redis may hide its settings.
func (s *Store) findUnsafe(ctx context.Context) (faults, warnings []string) {
	var mu = make(chan struct{}, 1)
	check := func(ctx context.Context, c *redis.Client) error {
		server := examineServer(ctx, c)
		mu <- struct{}{}
		for _, t := range []ServerProperty{server.Version, server.Eviction, server.Persistence} {
			if t.Fault != "" {
				faults = append(faults, t.Fault+": "+t.Hint)
			}
			if t.Warning != "" {
				warnings = append(warnings, t.Warning+": "+t.Hint)
			}
		}
		<-mu
		return nil
	}
	var err error
	switch c := s.rdb.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(ctx, check)
	case *redis.Client:
		err = check(ctx, c)
	}
	if err != nil {
		warnings = append(warnings, "not every Redis server could be examined: "+err.Error())
	}
	return faults, warnings
}

func isTooOld(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err1 == nil && err2 == nil && (a < 6 || a == 6 && b < 2)
}
