package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdd/holdd/worker/api"
)

// replica is a holdd that a supervisor starts again whenever it ends.
type replica struct {
	world   *world
	name    string
	env     []string
	logPath string // of its log, over all its lives
	exited  chan struct{}

	mu           sync.Mutex
	logFile      *os.File
	partialLine  []byte // of the log, not yet ended
	process      *os.Process
	client       *api.Client // nil while it doesn't listen
	endedByTest  bool        // the end of this life is our doing
	restartDelay time.Duration
}

// supervise keeps the replica running until ctx ends.
func (r *replica) supervise(ctx context.Context) {
	defer close(r.exited)
	for ctx.Err() == nil {
		cmd := exec.Command(r.world.bin, "serve")
		cmd.Env, cmd.Dir, cmd.Stderr, cmd.SysProcAttr, cmd.WaitDelay = r.env, r.world.dir, r,
			ownProcess(), 5*time.Second
		if err := cmd.Start(); err != nil {
			r.world.t.Errorf("%s: %v", r.name, err)
			return
		}
		r.mu.Lock()
		r.process, r.endedByTest, r.restartDelay = cmd.Process, false, 300*time.Millisecond
		r.mu.Unlock()
		stop := context.AfterFunc(ctx, func() { r.sendSignal(syscall.SIGKILL, 0) })
		err := cmd.Wait()
		stop()
		r.mu.Lock()
		r.process = nil
		if r.client != nil {
			r.client.Close()
		}
		r.client = nil
		r.partialLine = nil
		ours, down := r.endedByTest, r.restartDelay
		r.mu.Unlock()
		if !ours {
			r.world.increment("a replica ended by itself and was started again")
			fmt.Fprintf(r, "{\"message\":\"ended by itself: %v\"}\n", err)
		}
		sleepContext(ctx, down)
	}
}

// sendSignal reports whether there was a process to take it. A signal that ends
// the process keeps it down for a while.
func (r *replica) sendSignal(s syscall.Signal, down time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return false
	}
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		r.endedByTest, r.restartDelay = true, down
	}
	return r.process.Signal(s) == nil
}

// freeze stops the process that runs now for a time, and lets that one go on if
// nobody has ended it meanwhile.
func (r *replica) freeze(ctx context.Context, d time.Duration) bool {
	r.mu.Lock()
	p := r.process
	r.mu.Unlock()
	if p == nil || p.Signal(syscall.SIGSTOP) != nil {
		return false
	}
	sleepContext(ctx, d)
	_ = p.Signal(syscall.SIGCONT) // it may have been killed meanwhile
	return true
}

// apiClient is nil while the replica doesn't listen.
func (r *replica) apiClient() *api.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.client
}

// Write takes the process' standard error: it is kept, and read for the address
// that it listens at.
func (r *replica) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partialLine = append(r.partialLine, p...)
	for {
		line, rest, ok := bytes.Cut(r.partialLine, []byte("\n"))
		if !ok {
			break
		}
		var up struct{ Message, Listen string }
		if bytes.Contains(line, []byte("holdd is up")) && json.Unmarshal(line, &up) == nil &&
			up.Listen != "" {
			if c, err := api.NewClient(up.Listen, ""); err == nil {
				r.client = c
			}
		}
		r.partialLine = rest
	}
	return r.logFile.Write(p)
}

// grepLog returns the lines of the log that contain any of the texts, at most
// max of them, the last ones.
func (r *replica) grepLog(max int, texts ...string) []string {
	b, err := os.ReadFile(r.logPath)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		for _, text := range texts {
			if strings.Contains(line, text) {
				out = append(out, r.name+": "+strings.TrimSuffix(line, "\n"))
				break
			}
		}
	}
	return out[len(out)-min(max, len(out)):]
}

// sleepContext waits, less if ctx ends before. It reports whether it has waited
// to the end.
func sleepContext(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
