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
	patience = time.Minute          // for a server on a busy machine to come up
	pace     = 5 * time.Millisecond // between two looks at it
	tries    = 5                    // ports tried: one that was free may be taken by somebody else
)

// Redis is a redis-server process. Its methods fail the test when they can't do what they say.
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

// WrittenFirst are arguments for [Start] with which a server has written each change to its file before it answers, so that [Redis.Kill]
// loses nothing. As it runs by default it may lose what it answered in the last two seconds: while the disk is busy with a flush,
// appendfsync everysec keeps in memory what should be appended, and answers all the same (flushAppendOnlyFile in Redis' aof.c). "no"
// never flushes and so never keeps anything back; the operating system, which a kill doesn't harm, has it all.
var WrittenFirst = []string{"--appendfsync", "no"}

// Start runs a redis-server on a free port of the loopback interface until the test ends. It appends to a file and flushes it
// every second, as a production server should; args (such as "--maxmemory-policy", "allkeys-lru", or [WrittenFirst]) come last and win.
func Start(tb testing.TB, args ...string) *Redis {
	tb.Helper()
	return start(tb, &Redis{tb: tb, args: args})
}

// StartUnix is [Start] on a Unix socket and no port.
func StartUnix(tb testing.TB, args ...string) *Redis {
	tb.Helper()
	// A socket's path must be short: a test's own directory, named after the test, may be too long.
	dir, err := os.MkdirTemp("", "holdd")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return start(tb, &Redis{tb: tb, args: args, socket: filepath.Join(dir, "redis.sock")})
}

func start(tb testing.TB, r *Redis) *Redis {
	tb.Helper()
	r.bin = binary(tb)
	r.dir = tb.TempDir()
	var err error
	for range tries {
		if r.socket == "" {
			r.port = freePort(tb)
			if r.busPort != 0 {
				r.busPort = freePort(tb)
			}
		}
		if err = r.launch(); err == nil {
			tb.Cleanup(r.Kill)
			return r
		}
		if !strings.Contains(r.log(), "ddress already in use") {
			break
		}
	}
	tb.Fatalf("redis-server did not start: %v\n%s", err, r.log())
	return nil
}

func binary(tb testing.TB) string {
	tb.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		tb.Fatalf("this test needs a real redis-server on the PATH (Debian: apt-get install redis-server; macOS: brew install redis): %v", err)
	}
	return bin
}

// launch starts the process and waits until it answers, its append-only file read.
func (r *Redis) launch() error {
	args := []string{
		"--port", strconv.Itoa(r.port), "--bind", "127.0.0.1", "--dir", r.dir, "--logfile", filepath.Join(r.dir, "log"), "--daemonize", "no",
		"--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--latency-tracking", "no",
	}
	if r.socket != "" {
		args = append(args, "--unixsocket", r.socket)
	}
	if r.busPort != 0 {
		args = append(args, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(r.busPort), "--cluster-node-timeout", "2000")
	}
	return r.run(append(args, r.args...))
}

func (r *Redis) run(args []string) error {
	cmd := exec.Command(r.bin, args...)
	cmd.Dir = r.dir
	cmd.SysProcAttr = ownProcess()
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

	bound := time.NewTimer(patience)
	defer bound.Stop()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for !r.answers() {
		select {
		case <-done:
			return errors.New("it ended at once")
		case <-bound.C:
			r.Kill()
			return fmt.Errorf("it did not answer within %s", patience)
		case <-tick.C:
		}
	}
	return nil
}

// answers asks without a client library, whose pool would log each look that came too early.
func (r *Redis) answers() bool {
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
	// A server that wants a password, or whose commands were taken away, is up as well.
	return err == nil && !strings.HasPrefix(line, "-LOADING")
}

// URL is what [github.com/holdd/holdd/store.Options] takes.
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

// Dir is where the server keeps its files.
func (r *Redis) Dir() string { return r.dir }

// Client returns a new connection pool to look at the server with, without retries. The caller closes it.
func (r *Redis) Client() *redis.Client {
	o := &redis.Options{
		Addr: r.Addr(), MaxRetries: -1, DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, DialerRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}, DisableIdentity: true,
	}
	if r.socket != "" {
		o.Network = "unix"
	}
	return redis.NewClient(o)
}

// PID is the number of the process, 0 while it is down.
func (r *Redis) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return 0
	}
	return r.cmd.Process.Pid
}

// Kill is kill -9, and waits for the end. What the server has written survives with the operating system, flushed or not; what it has answered
// and kept back, as with a slow disk and without [WrittenFirst], is lost. A server that is down stays down.
func (r *Redis) Kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // fails only if it has ended already; kill -9 ends a stopped process as well
	<-r.done
	r.cmd = nil
}

// Restart starts the server again at the same address, after a kill if it still runs, with the append-only file that it left.
func (r *Redis) Restart() {
	r.tb.Helper()
	r.Kill()
	if r.socket != "" {
		os.Remove(r.socket)
	}
	if err := r.launch(); err != nil {
		r.tb.Fatalf("redis-server did not start again: %v\n%s", err, r.log())
	}
}

// Pause stops the process where it is (SIGSTOP): connections stay, nothing answers.
func (r *Redis) Pause() {
	r.tb.Helper()
	r.signal(syscall.SIGSTOP)
}

// Resume lets a paused process go on (SIGCONT).
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

func (r *Redis) log() string {
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

// Until waits for cond, looking again and again, and fails the test when it isn't met within d. what names it.
func Until(tb testing.TB, d time.Duration, what string, cond func() bool) {
	tb.Helper()
	bound := time.NewTimer(d)
	defer bound.Stop()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for !cond() {
		select {
		case <-bound.C:
			tb.Fatalf("not within %s: %s", d, what)
		case <-tick.C:
		}
	}
}
