package store

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	defaultPoolSize = 16
	// defaultTimeout is the default of the timeouts in a URL. The reply to a
	// claim must arrive long before its lease ends.
	defaultTimeout = 3 * time.Second
	// noRetries keeps go-redis from repeating a command whose reply was lost. A
	// repeated claim would leave the holds of the first claim leased until
	// their leases end. The callers of the store retry instead. A Cluster
	// client still follows redirections and repeats commands that were lost
	// when a connection closed, so there such a claim can be repeated.
	noRetries = -1
)

// newClient returns a client for a URL in one of the forms that [Options]
// accepts.
func newClient(o Options) (redis.UniversalClient, error) {
	if o.PoolSize == 0 {
		o.PoolSize = defaultPoolSize
	}
	scheme, rest, ok := strings.Cut(o.URL, "://")
	if !ok {
		return nil,
			invalidSettingErrorf("invalid redis_url: want a scheme, as in redis://host:6379/0")
	}
	kind, transport := "", scheme
	if t, k, ok := strings.Cut(scheme, "+"); ok {
		kind, transport = k, t
	}
	plain, err := toGoRedisURL(transport+"://"+rest, kind != "")
	if err != nil {
		return nil, err
	}
	switch kind {
	case "":
		return newServerClient(plain, o)
	case "sentinel":
		return newSentinelClient(plain, o)
	case "cluster":
		return newClusterClient(plain, o)
	default:
		return nil, invalidSettingErrorf("invalid redis_url: want the scheme redis, rediss, unix, "+
			"redis+sentinel or redis+cluster, got %q", scheme)
	}
}

func newServerClient(plain string, o Options) (redis.UniversalClient, error) {
	c, err := redis.ParseURL(plain)
	if err != nil {
		return nil, invalidURLError(err)
	}
	c.MaxRetries, c.DialerRetries, c.ContextTimeoutEnabled = noRetries, 1, true
	c.PoolSize, c.Dialer, c.MaintNotificationsConfig = o.PoolSize, o.Dialer, disabledMaintNotifications()
	setDefaultTimeouts(&c.ReadTimeout, &c.WriteTimeout, &c.DialTimeout)
	return redis.NewClient(c), nil
}

func newSentinelClient(plain string, o Options) (redis.UniversalClient, error) {
	c, err := redis.ParseFailoverURL(plain)
	if err != nil {
		return nil, invalidURLError(err)
	}
	if c.MasterName == "" {
		return nil,
			invalidSettingErrorf("invalid redis_url: want ?master_name=… with redis+sentinel://")
	}
	c.MaxRetries, c.DialerRetries, c.ContextTimeoutEnabled = noRetries, 1, true
	c.PoolSize, c.Dialer = o.PoolSize, o.Dialer
	setDefaultTimeouts(&c.ReadTimeout, &c.WriteTimeout, &c.DialTimeout)
	return redis.NewFailoverClient(c), nil
}

func newClusterClient(plain string, o Options) (redis.UniversalClient, error) {
	c, err := redis.ParseClusterURL(plain)
	if err != nil {
		return nil, invalidURLError(err)
	}
	c.MaxRetries, c.DialerRetries, c.ContextTimeoutEnabled = noRetries, 1, true
	c.PoolSize, c.Dialer, c.MaintNotificationsConfig = o.PoolSize, o.Dialer, disabledMaintNotifications()
	setDefaultTimeouts(&c.ReadTimeout, &c.WriteTimeout, &c.DialTimeout)
	return redis.NewClusterClient(c), nil
}

func disabledMaintNotifications() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

func setDefaultTimeouts(timeouts ...*time.Duration) {
	for _, t := range timeouts {
		if *t == 0 {
			*t = defaultTimeout
		}
	}
}

// toGoRedisURL converts a list of hosts to the form that go-redis parses: the
// first host, and the others as addr parameters.
func toGoRedisURL(raw string, many bool) (string, error) {
	u, err := url.Parse(raw)
	if err != nil && many {
		return moveHostsToURLQuery(raw), nil // url.Parse rejects several host:port pairs
	}
	if err != nil {
		return "", invalidURLError(err)
	}
	if strings.Contains(u.Host, ",") {
		return moveHostsToURLQuery(raw), nil
	}
	return raw, nil
}

func moveHostsToURLQuery(raw string) string {
	scheme, rest, _ := strings.Cut(raw, "://")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	user := ""
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		user, authority = authority[:i+1], authority[i+1:]
	}
	hosts := strings.Split(authority, ",")
	separator := "?"
	if strings.Contains(tail, "?") {
		separator = "&"
	}
	for _, h := range hosts[1:] {
		tail += separator + "addr=" + url.QueryEscape(h)
		separator = "&"
	}
	return scheme + "://" + user + hosts[0] + tail
}

// invalidURLError returns the error for a URL that cannot be parsed. It leaves
// out the text of url.Parse, which may quote the password. The errors of
// go-redis about parameters do not.
func invalidURLError(err error) error {
	var urlError *url.Error
	if errors.As(err, &urlError) {
		return invalidSettingErrorf("%s",
			"invalid redis_url: want redis://user:password@host:6379/0, "+
				"with / ? # @ : and % percent-encoded in the password")
	}
	return invalidSettingErrorf("invalid redis_url: %w", err)
}

func unreachableError(rawURL string, err error) error {
	return fmt.Errorf("the Redis at %s does not answer: start it, or set redis_url: %w",
		redactURL(rawURL), err)
}

// redactURL returns a URL without its password and parameters.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "redis_url"
	}
	u.RawQuery = ""
	return u.Redacted()
}
