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
	startTimeout = time.Minute // for a server to start on a busy machine
	portAttempts = 5           // another process may take the chosen port

	// between two checks of a condition
	pollInterval    = 5 * time.Millisecond
	maxPollInterval = 50 * time.Millisecond
)

// Redis is a redis-server process. Its methods fail the test on an error.
type Redis struct {
	tb      testing.TB
	port    int
	busPort int    // of the Cluster bus, otherwise 0
	socket  string // "" for TCP
	dir     string
	args    []string
	bin     string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// KillSafeArgs are arguments for [Start] with which [Redis.Kill] loses no
// write. By default, a kill can lose the writes of the last two seconds: while
// the disk is busy with a flush, appendfsync everysec keeps new writes in
// memory and acknowledges them (flushAppendOnlyFile in aof.c of Redis). With
// "no", Redis writes each change to the file before it answers and leaves the
// flush to the kernel, which a kill does not affect.
var KillSafeArgs = []string{"--appendfsync", "no"}

// Start runs a redis-server on a free port of the loopback interface until the
// test ends. The server flushes its append-only file every second, as in
// production. The args, such as "--maxmemory-policy", "allkeys-lru" or
// [KillSafeArgs], override the defaults.
func Start(tb testing.TB, args ...string) *Redis {
	tb.Helper()
	return startOnFreePort(tb, &Redis{tb: tb, args: args})
}

// StartUnix is like [Start], but on a Unix socket and without a port.
func StartUnix(tb testing.TB, args ...string) *Redis {
	tb.Helper()
	// The path of a socket has a maximum length, which the directory of the
	// test may exceed.
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
		"--port", strconv.Itoa(r.port),
		"--bind", "127.0.0.1",
		"--dir", r.dir,
		"--logfile", filepath.Join(r.dir, "log"),
		"--daemonize", "no",
		"--appendonly", "yes",
		"--appendfsync", "everysec",
		"--save", "",
		"--latency-tracking", "no",
	}
	if r.socket != "" {
		args = append(args, "--unixsocket", r.socket)
	}
	if r.busPort != 0 {
		args = append(args,
			"--cluster-enabled", "yes",
			"--cluster-port", strconv.Itoa(r.busPort),
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
		_ = cmd.Wait() // the log has the reason why it ended
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
			return errors.New("the process ended")
		case <-timeout.C:
			r.Kill()
			return fmt.Errorf("the server did not answer within %s", startTimeout)
		case <-tick.C:
		}
	}
	return nil
}

// isUp reports whether the server answers. It does not use go-redis, whose pool
// logs each failed dial.
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
	_ = c.SetDeadline(time.Now().Add(time.Second)) // on an error, the write fails too
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	// A server that requires a password or lacks the command is up too.
	return err == nil && !strings.HasPrefix(line, "-LOADING")
}

// URL returns the URL for [github.com/holdd/holdd/store.Options].
func (r *Redis) URL() string {
	if r.socket != "" {
		return "unix://" + r.socket
	}
	return "redis://" + r.Addr()
}

// Addr returns host:port, or the path of the socket.
func (r *Redis) Addr() string {
	if r.socket != "" {
		return r.socket
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port))
}

// Port returns the port, or 0 for a Unix socket.
func (r *Redis) Port() int { return r.port }

// Dir returns the directory of the server's files.
func (r *Redis) Dir() string { return r.dir }

// Client returns a new client without retries. The caller closes it.
func (r *Redis) Client() *redis.Client {
	o := &redis.Options{
		Addr:                     r.Addr(),
		MaxRetries:               -1,
		DialerRetries:            1,
		DialTimeout:              startTimeout,
		ReadTimeout:              startTimeout,
		WriteTimeout:             startTimeout,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		DisableIdentity:          true,
	}
	if r.socket != "" {
		o.Network = "unix"
	}
	return redis.NewClient(o)
}

// PID returns the process id, or 0 while the server is down.
func (r *Redis) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return 0
	}
	return r.cmd.Process.Pid
}

// Kill kills the process (SIGKILL) and waits for its end. Writes to the
// append-only file survive, flushed or not. Writes that the server acknowledged
// and kept in memory are lost, see [KillSafeArgs]. Kill does nothing if the
// server is down.
func (r *Redis) Kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // fails only if the process has already ended
	<-r.done
	r.cmd = nil
}

// Restart starts the server again at the same address, with its append-only
// file. It first kills a server that still runs.
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

// Pause stops the process (SIGSTOP). Its connections stay open, but it does not
// answer.
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
		r.tb.Fatalf("cannot send %v: no redis-server runs at %s", s, r.Addr())
	}
	if err := r.cmd.Process.Signal(s); err != nil {
		r.tb.Fatalf("cannot send %v to the redis-server at %s: %v", s, r.Addr(), err)
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

// WaitUntil polls until cond returns true. It fails the test after d. what
// describes the condition. The longer it has waited, the less often it polls: a
// condition often lists holds, and many tests wait at once.
func WaitUntil(tb testing.TB, d time.Duration, what string, cond func() bool) {
	tb.Helper()
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	for began := time.Now(); !cond(); {
		pause := min(max(time.Since(began)/20, pollInterval), maxPollInterval)
		select {
		case <-timeout.C:
			tb.Fatalf("not true within %s: %s", d, what)
		case <-time.After(pause):
		}
	}
}
