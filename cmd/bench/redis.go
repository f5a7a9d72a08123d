package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// redisServer is a redis-server with an append-only file that is flushed every
// second. Rewrites of the file are off, because they would disturb some runs
// and not others.
type redisServer struct {
	*process
	addr, dir string
	rdb       *redis.Client
}

// startRedis starts a redis-server on a free port.
func (l *launcher) startRedis(ctx context.Context, args ...string) (*redisServer, error) {
	dir, err := os.MkdirTemp(l.tempDir, "redis")
	if err != nil {
		return nil, err
	}
	for range 5 { // another process may take the free port first
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		p, err := l.startProcess("redis-server", nil, "redis-server",
			append([]string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1",
				"--dir", dir, "--save", "",
				"--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage",
				"0", "--daemonize", "no"}, args...)...)
		if err != nil {
			return nil, err
		}
		s := &redisServer{process: p, dir: dir,
			addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
		s.rdb = redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1,
			PoolSize: 2, DialerRetries: 1,
			MaintNotificationsConfig: &maintnotifications.Config{
				Mode: maintnotifications.ModeDisabled}, DisableIdentity: true})
		switch ready, err := s.waitReady(ctx); {
		case err != nil:
			s.stop()
			return nil, err
		case ready:
			return s, nil
		}
		s.stop()
	}
	return nil, errors.New("redis-server did not start")
}

// waitReady waits until the server answers, and reports whether it does.
func (s *redisServer) waitReady(ctx context.Context) (bool, error) {
	until := time.Now().Add(processTimeout)
	for time.Now().Before(until) && s.errIfEnded() == nil {
		if s.acceptsConnections() && s.rdb.Ping(ctx).Err() == nil {
			return true, nil
		}
		if err := sleepContext(ctx, 5*time.Millisecond); err != nil {
			return false, err
		}
	}
	return false, nil
}

// acceptsConnections reports whether the server listens. The client's pool
// would log each failed attempt.
func (s *redisServer) acceptsConnections() bool {
	c, err := net.DialTimeout("tcp", s.addr, time.Second)
	if err != nil {
		return false
	}
	return c.Close() == nil
}

func (s *redisServer) stop() {
	if s == nil {
		return
	}
	_ = s.rdb.Close()
	s.kill()
	_ = os.RemoveAll(s.dir)
}

// redisUsage are figures of INFO.
type redisUsage struct {
	cpu      time.Duration // user and system, without forks
	commands int64         // with those that scripts run
	// reads from sockets that returned data: close to round trips
	reads  int64
	memory int64 // used_memory, bytes
}

func (s *redisServer) usage(ctx context.Context) (u redisUsage, err error) {
	text, err := s.rdb.Info(ctx, "everything").Result()
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch k {
		case "used_cpu_user", "used_cpu_sys":
			f, err := strconv.ParseFloat(v, 64)
			if err != nil {
				return u, err
			}
			u.cpu += time.Duration(f * float64(time.Second))
		case "total_commands_processed":
			u.commands, err = strconv.ParseInt(v, 10, 64)
		case "total_reads_processed":
			u.reads, err = strconv.ParseInt(v, 10, 64)
		case "used_memory":
			u.memory, err = strconv.ParseInt(v, 10, 64)
		}
		if err != nil {
			return u, fmt.Errorf("INFO has %q: %w", line, err)
		}
	}
	return u, nil
}

// countCommands counts the commands that clients send from now on, without those
// that scripts run. The returned function ends the count.
func countCommands(ctx context.Context, s *redisServer) (end func() int64, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, "MONITOR\r\n"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	sent := make(chan int64, 1)
	go func() {
		n := int64(0)
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			// +1795998064.102 [0 127.0.0.1:1234] "mget" …; a script has "lua" for an address
			if strings.Contains(lines.Text(), " [") && !strings.Contains(lines.Text(), " lua] ") {
				n++
			}
		}
		sent <- n
	}()
	return func() int64 {
		_ = conn.Close()
		return <-sent
	}, nil
}

// usedPorts are the ports that freePort has returned.
var usedPorts sync.Map

// freePort returns a port that is free and that it has not returned before.
// Two servers that start at once would otherwise sometimes get the same port, and
// the workers of both would use the one that came first.
func freePort() (int, error) {
	for {
		port, err := listenOnFreePort()
		if err != nil {
			return 0, err
		}
		if _, used := usedPorts.LoadOrStore(port, true); !used {
			return port, nil
		}
	}
}

func listenOnFreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
