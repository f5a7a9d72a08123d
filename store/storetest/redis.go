package storetest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	startTimeout = time.Minute          // for a server on a busy machine to come up
	pollInterval = 5 * time.Millisecond // between two checks
	portAttempts = 5                    // another process may take a port that was free
)

// Redis is a redis-server process. Its methods fail the test when they cannot
// do what they say.
type Redis struct {
	tb      testing.TB
	port    int
	busPort int    // of a Cluster, else 0
	socket  string // "" for TCP
	dir     string
	args    []string
	bin     string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// KillSafeArgs are arguments for [Start] with which the server writes each
// change to its file before it answers, so that [Redis.Kill] loses nothing. By
// default it can lose the writes of the last two seconds: while the disk is
// busy with a flush, appendfsync everysec keeps new writes in memory and
// answers all the same (flushAppendOnlyFile in aof.c of Redis). "no" never
// flushes, so it never keeps writes back, and a kill does not affect the
// operating system, which has them.
var KillSafeArgs = []string{"--appendfsync", "no"}

// Start runs a redis-server on a free port of the loopback interface until the
// test ends. It has an append-only file that is flushed every second, as in
// production. The args, such as "--maxmemory-policy", "allkeys-lru" or
// [KillSafeArgs], come last and win.
func Start(tb testing.TB, args ...string) *Redis {
	tb.Helper()
	return startOnFreePort(tb, &Redis{tb: tb, args: args})
}

// StartUnix is [Start] on a Unix socket, without a port.
func StartUnix(tb testing.TB, args ...string) *Redis {
	tb.Helper()
	// The path of a socket must be short. The directory of the test has the
	// test's name and may be too long.
	dir, err := os.MkdirTemp("", "holdd")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return startOnFreePort(tb, &Redis{tb: tb, args: args, socket: filepath.Join(dir, "redis.sock")})
}

func startOnFreePort(tb testing.TB, r *Redis) *Redis {
	tb.Helper()
	r.bin = redisServerPath(tb)
	r.dir = tb.TempDir()
	var err error
	for range portAttempts {
		if r.socket == "" {
			r.port = freePort(tb)
			if r.busPort != 0 {
				r.busPort = freePort(tb)
			}
		}
		if err = r.startServer(); err == nil {
			tb.Cleanup(r.Kill)
			return r
		}
		if !strings.Contains(r.readLog(), "ddress already in use") {
			break
		}
	}
	tb.Fatalf("redis-server did not start: %v\n%s", err, r.readLog())
	return nil
}

func redisServerPath(tb testing.TB) string {
	tb.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		tb.Fatalf("this test needs a real redis-server on the PATH "+
			"(Debian: apt-get install redis-server; macOS: brew install redis): %v", err)
	}
	return bin
}

// startServer starts the process and waits until it has read its append-only
// file and answers.
func (r *Redis) startServer() error {
	args := []string{
		"--port", strconv.Itoa(r.port), "--bind", "127.0.0.1", "--dir", r.dir, "--logfile",
		filepath.Join(r.dir, "log"), "--daemonize", "no",
		"--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
		"--latency-tracking", "no",
	}
	if r.socket != "" {
		args = append(args, "--unixsocket", r.socket)
	}
	if r.busPort != 0 {
		args = append(args, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(r.busPort),
			"--cluster-node-timeout", "2000")
	}
	return r.startProcess(append(args, r.args...))
}

func (r *Redis) startProcess(args []string) error {
	cmd := exec.Command(r.bin, args...)
	cmd.Dir = r.dir
	cmd.SysProcAttr = childProcAttr()
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(done)
	}()
	r.mu.Lock()
	r.cmd, r.done = cmd, done
	r.mu.Unlock()

	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !r.isUp() {
		select {
		case <-done:
			return errors.New("it ended at once")
		case <-timeout.C:
			r.Kill()
			return fmt.Errorf("it did not answer within %s", startTimeout)
		case <-tick.C:
		}
	}
	return nil
}

// isUp asks without a client library, whose pool would log each failed try.
func (r *Redis) isUp() bool {
	network := "tcp"
	if r.socket != "" {
		network = "unix"
	}
	c, err := net.DialTimeout(network, r.Addr(), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second)) // a connection that can't have one fails below
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	// A server that wants a password, or lacks the command, is up as well.
	return err == nil && !strings.HasPrefix(line, "-LOADING")
}

// URL is the URL for [github.com/holdd/holdd/store.Options].
func (r *Redis) URL() string {
	if r.socket != "" {
		return "unix://" + r.socket
	}
	return "redis://" + r.Addr()
}

// Addr is host:port, or the path of the socket.
func (r *Redis) Addr() string {
	if r.socket != "" {
		return r.socket
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port))
}

// Port is 0 on a Unix socket.
func (r *Redis) Port() int { return r.port }

// Dir is the directory of the server's files.
func (r *Redis) Dir() string { return r.dir }

// Client returns a new client without retries. The caller closes it.
func (r *Redis) Client() *redis.Client {
	o := &redis.Options{
		Addr: r.Addr(), MaxRetries: -1, DialTimeout: startTimeout, ReadTimeout: startTimeout,
		WriteTimeout: startTimeout, DialerRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		DisableIdentity:          true,
	}
	if r.socket != "" {
		o.Network = "unix"
	}
	return redis.NewClient(o)
}

// PID is the process id, 0 while the server is down.
func (r *Redis) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return 0
	}
	return r.cmd.Process.Pid
}

// Kill is kill -9, and waits for the end. Writes to the file survive, flushed
// or not. Writes that the server has answered and kept back, as with a slow
// disk and without [KillSafeArgs], are lost. A server that is down stays down.
func (r *Redis) Kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return
	}
	// fails only if it has ended already; kill -9 ends a stopped process as
	// well
	_ = r.cmd.Process.Kill()
	<-r.done
	r.cmd = nil
}

// Restart starts the server again at the same address, after a kill if it still
// runs, with its append-only file.
func (r *Redis) Restart() {
	r.tb.Helper()
	r.Kill()
	if r.socket != "" {
		os.Remove(r.socket)
	}
	if err := r.startServer(); err != nil {
		r.tb.Fatalf("redis-server did not start again: %v\n%s", err, r.readLog())
	}
}

// Pause stops the process (SIGSTOP): connections stay open, and the server does
// not answer.
func (r *Redis) Pause() {
	r.tb.Helper()
	r.signal(syscall.SIGSTOP)
}

// Resume continues a paused process (SIGCONT).
func (r *Redis) Resume() {
	r.tb.Helper()
	r.signal(syscall.SIGCONT)
}

func (r *Redis) signal(s os.Signal) {
	r.tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		r.tb.Fatalf("no redis-server runs at %s to send %v to", r.Addr(), s)
	}
	if err := r.cmd.Process.Signal(s); err != nil {
		r.tb.Fatalf("signal %v to the redis-server at %s: %v", s, r.Addr(), err)
	}
}

func (r *Redis) readLog() string {
	b, err := os.ReadFile(filepath.Join(r.dir, "log"))
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	return string(b)
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// WaitUntil polls cond, and fails the test if it is not met within d. what
// names the condition.
func WaitUntil(tb testing.TB, d time.Duration, what string, cond func() bool) {
	tb.Helper()
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !cond() {
		select {
		case <-timeout.C:
			tb.Fatalf("not within %s: %s", d, what)
		case <-tick.C:
		}
	}
}
