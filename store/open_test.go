package store_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
)

const testPassword = "S3cr3tPassw0rd"

func TestOpen_URLForms(t *testing.T) {
	t.Parallel()
	tcp := storetest.Start(t, "--requirepass", testPassword)
	sock := storetest.StartUnix(t)
	for _, url := range []string{
		"redis://:" + testPassword + "@" + tcp.Addr(), "redis://default:" + testPassword +
			"@" + tcp.Addr() + "/0",
		"redis://:" + testPassword + "@" + tcp.Addr() + "/3?read_timeout=1s",
		"unix://" + sock.Addr(), "unix://" + sock.Addr() + "?db=2",
	} {
		s, warnings, err := store.Open(t.Context(), store.Options{URL: url})
		if err != nil || len(warnings) != 0 {
			t.Errorf("%s: %v, %q", url, err, warnings)
			continue
		}
		e := &testStore{TB: t, store: s}
		e.mustCommit(newScheduledWrite("pi_a", futureDue, nearDeadline))
		if err := errors.Join(s.CheckWritable(t.Context()), s.Close()); err != nil {
			t.Error(err)
		}
	}
}

// The error for an invalid URL says how to write it, and never contains the
// password.
func TestOpen_InvalidURLShowsNoPassword(t *testing.T) {
	t.Parallel()
	free := storetest.Start(t)
	free.Kill() // an address where nothing listens
	locked := storetest.Start(t, "--requirepass", "another")
	for _, url := range []string{
		"", "localhost:6379", "S3cr3tPassw0rd@localhost", "http://:" + testPassword + "@localhost",
		"redis+magic://:" + testPassword + "@localhost", "redis://:" +
			testPassword + "@" + free.Addr(),
		"redis://user:" + testPassword + "@" + free.Addr() + "/0",
		"redis://user:" + testPassword + "/x@localhost:6379", "redis://:" +
			testPassword + "?x@localhost:6379",
		"redis://:" + testPassword + "#x@localhost",
		"redis://:" + testPassword + "%zz@localhost", "redis://:%" +
			testPassword + "@localhost:6379",
		"redis://:" + testPassword + " x@localhost", "redis://:" + testPassword + "@localhost:port",
		"redis://:" + testPassword + "@localhost/nine",
		"redis://:" + testPassword + "@localhost?no_such=1",
		"redis://:" + testPassword + "@localhost?read_timeout=soon",
		"redis://:" + testPassword + "@[::1",
		"redis://:" + testPassword + "\x7f@localhost",
		"redis+sentinel://:" + testPassword + "@a:1,b:2",
		"redis+sentinel://:" + testPassword + "/@a:1,b:2?master_name=m",
		"redis+sentinel://:" + testPassword + "@" + free.Addr() + "," +
			free.Addr() + "?master_name=m",
		"redis+sentinel://" + free.Addr() + "?master_name=m&sentinel_password=" + testPassword,
		"redis+sentinel://" + free.Addr() + "?master_name=m&no_such=" + testPassword,
		"redis+cluster://:" + testPassword + "@" + free.Addr() + "," + free.Addr(),
		"redis+cluster://:" + testPassword + "%zz@a:1,b:2", "redis+cluster://:" +
			testPassword + "@a:x,b:y",
		"redis+cluster://:" + testPassword + "/@a:1,b:2",
		"redis://:" + testPassword + "@" + locked.Addr(), "unix://:" +
			testPassword + "@/no/such/socket",
		"rediss://:" + testPassword + "@" + locked.Addr() + "?dial_timeout=200ms",
	} {
		t.Run(strings.ReplaceAll(url, "/", "_"), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			s, warnings, err := store.Open(ctx, store.Options{URL: url})
			if err == nil || s != nil {
				t.Fatalf("it was taken, with %q", warnings)
			}
			text := fmt.Sprint(err, warnings)
			// The error must not contain a part of the password either.
			if strings.Contains(text, testPassword[:4]) {
				t.Errorf("the password is in the error: %s", text)
			}
			if ctx.Err() != nil {
				t.Errorf("it took too long: %s", text)
			}
			if !strings.Contains(text, "redis_url") && !strings.Contains(text, "Redis") {
				t.Errorf("what is at fault? %s", text)
			}
		})
	}
}

func TestOpen_RedisDoesNotAnswer(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t)
	r.Pause() // like a server that hangs or a network that drops packets
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	const timeouts = "?read_timeout=100ms&dial_timeout=100ms"
	_, _, err := store.Open(ctx, store.Options{URL: r.URL() + timeouts})
	if err == nil || !strings.Contains(err.Error(),
		"does not answer: start it, or set redis_url") ||
		!strings.Contains(err.Error(), r.Addr()) {
		t.Errorf("%v", err)
	}
	r.Resume()
	s := mustOpen(t, store.Options{URL: r.URL()})
	r.Kill()
	if err := s.CheckWritable(ctx); err == nil || !strings.Contains(err.Error(), "Redis") {
		t.Errorf("%v", err)
	}
	if _, err := s.PromoteDue(ctx, hold.PromoteRequest{Scheduled: true, Holds: 1}); err == nil {
		t.Error("a dead Redis has an answer")
	}
	r.Restart()
	storetest.WaitUntil(t, 10*time.Second, "the store works again by itself",
		func() bool { return s.CheckWritable(ctx) == nil })
}

func TestOpen_RefusesUnsafeRedis(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		args    []string
		fault   string // in the error; "": Open succeeds
		warning string // "" for none
	}{
		{"as it should be", nil, "", ""},
		{"evicts", []string{"--maxmemory-policy", "allkeys-lru"}, "allkeys-lru", ""},
		{"evicts what expires", []string{"--maxmemory-policy", "volatile-ttl"}, "volatile-ttl", ""},
		{"writes nothing", []string{"--appendonly", "no"}, "set appendonly to yes", ""},
		{"both", []string{"--appendonly", "no", "--maxmemory-policy", "allkeys-lfu"},
			"allkeys-lfu, which evicts holds: set maxmemory-policy to noeviction; nothing is written to disk", ""},
		{"snapshots only", []string{"--appendonly", "no", "--save", "60 1"}, "",
			"snapshots but no append-only file"},
		{"snapshots as well", []string{"--save", "60 1"}, "", ""},
		// INFO has the same values
		{"CONFIG hidden", []string{"--rename-command", "CONFIG", ""}, "", ""},
		{"CONFIG hidden, evicts", []string{"--rename-command", "CONFIG", "", "--maxmemory-policy",
			"allkeys-lru"}, "allkeys-lru", ""},
		{"CONFIG hidden, no append-only file", []string{"--rename-command", "CONFIG", "",
			"--appendonly", "no"}, "", "append-only file"},
		{"CONFIG and INFO hidden", []string{"--rename-command", "CONFIG", "", "--rename-command",
			"INFO", ""}, "", "hides maxmemory-policy"},
		{"CONFIG and INFO hidden, how it persists", []string{"--rename-command", "CONFIG", "",
			"--rename-command", "INFO", ""}, "", "hides how it persists"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := storetest.Start(t, c.args...)
			s, warnings, err := store.Open(t.Context(), store.Options{URL: r.URL()})
			switch {
			case c.fault != "":
				if err == nil || !strings.Contains(err.Error(), c.fault) ||
					!strings.Contains(err.Error(), "allow_unsafe_redis") {
					t.Errorf("%v", err)
				}
				raw := r.Client()
				if n := raw.DBSize(t.Context()).Val(); n != 0 {
					t.Errorf("a Redis that was refused has %d keys", n)
				}
				raw.Close()
				if s, warnings, err = store.Open(t.Context(), store.Options{URL: r.URL(),
					AllowUnsafe: true}); err != nil ||
					!strings.Contains(strings.Join(warnings, "\n"), "unsafe Redis allowed") {
					t.Errorf("allowed: %q, %v", warnings, err)
				}
			case err != nil:
				t.Error(err)
			case c.warning == "" && len(warnings) != 0,
				!strings.Contains(strings.Join(warnings, "\n"), c.warning):
				t.Errorf("warnings: %q", warnings)
			}
			if s != nil {
				e := &testStore{TB: t, store: s}
				e.mustCommit(newScheduledWrite("pi_a", futureDue, nearDeadline))
				s.Close()
			}
		})
	}
}

// The user of a managed Redis may use the keys and commands of holdd, but may
// not read the settings of Redis.
func TestOpen_UserWithoutInfo(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t)
	raw := r.Client()
	defer raw.Close()
	if err := raw.Do(t.Context(), "ACL", "SETUSER", "holdd", "on", ">"+testPassword, "~holdd:*",
		"~rate:holdd:*", "&*", "+@all", "-@admin", "-@dangerous").Err(); err != nil {
		t.Fatal(err)
	}
	s, warnings, err := store.Open(t.Context(),
		store.Options{URL: "redis://holdd:" + testPassword + "@" + r.Addr(),
			Rates: store.RateLimitOptions{Write: 10,
				Read: 10, Total: 15}})
	if err != nil || len(warnings) != 2 || !strings.Contains(warnings[0],
		"hides maxmemory-policy") ||
		!strings.Contains(warnings[1], "hides how it persists") {
		t.Fatalf("%q, %v", warnings, err)
	}
	defer s.Close()
	// This user can call every method.
	e := &testStore{TB: t, store: s, rdb: raw}
	e.callEveryMethod()
	if err := raw.Do(t.Context(), "ACL", "SETUSER", "holdd", "-@write").Err(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Open(t.Context(),
		store.Options{URL: "redis://holdd:" + testPassword + "@" + r.Addr()}); err == nil ||
		!strings.Contains(err.Error(), "cannot write") {
		t.Errorf("a user who may not write: %v", err)
	}
}

func TestOpen_RefusesOtherPartitionsOrMode(t *testing.T) {
	t.Parallel()
	r := storetest.StartUnix(t)
	mustOpen(t, store.Options{URL: r.URL(), Partitions: 4})
	mustOpen(t, store.Options{URL: r.URL(), Partitions: 4})
	for name, c := range map[string]struct {
		o    store.Options
		want string
	}{
		"fewer": {store.Options{}, "divided into 4 partitions, the setting says 1"},
		"more":  {store.Options{Partitions: 8}, "divided into 4 partitions, the setting says 8"},
		"live": {store.Options{Partitions: 4, Livemode: true},
			"holds of test mode, the Stripe key is for live mode"},
		"unsafe": {store.Options{Partitions: 2, AllowUnsafe: true}, "divided into 4"},
	} {
		c.o.URL = r.URL()
		if s, _, err := store.Open(t.Context(), c.o); err == nil || s != nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	live := storetest.StartUnix(t)
	mustOpen(t, store.Options{URL: live.URL(), Livemode: true})
	if _, _, err := store.Open(t.Context(), store.Options{URL: live.URL()}); err == nil ||
		!strings.Contains(err.Error(), "of live mode, the Stripe key is for test mode") {
		t.Errorf("%v", err)
	}
}

func TestOpen_RefusesOldVersions(t *testing.T) {
	t.Parallel()
	for version, refused := range map[string]bool{"5.0.14": true, "6.0.20": true, "6.2.0": false,
		"7.0.15": false, "10.1": false, "unheard of": false} {
		// This server answers only PING and INFO.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go serveFakeInfo(l, "redis_version:"+version+
			"\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n")
		_, _, err = store.Open(t.Context(), store.Options{URL: "redis://" + l.Addr().String()})
		if got := err != nil && strings.Contains(err.Error(), "too old"); got != refused {
			t.Errorf("%s: %v", version, err)
		}
		l.Close()
	}
}

func serveFakeInfo(l net.Listener, info string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			b := make([]byte, 4096)
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				// One reply for each command of a pipeline. Each command is an
				// array, which begins with a star.
				for cmd := range strings.SplitSeq(strings.TrimPrefix(string(b[:n]), "*"), "\r\n*") {
					switch up := strings.ToUpper(cmd); {
					case strings.Contains(up, "\r\nINFO\r\n"):
						fmt.Fprintf(c, "$%d\r\n%s\r\n", len(info), info)
					case strings.Contains(up, "\r\nPING"):
						fmt.Fprint(c, "+PONG\r\n")
					default:
						fmt.Fprint(c, "-ERR unknown command\r\n")
					}
				}
			}
		}()
	}
}
