package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// processTimeout bounds every wait for a program to start or to end.
const processTimeout = 30 * time.Second

// process is a program that was started.
type process struct {
	name      string
	cmd       *exec.Cmd
	lines     *bufio.Reader // its standard output
	out       io.Closer
	stdin     io.WriteCloser
	logFile   string // where its standard error goes
	done      chan struct{}
	startedAt time.Time
}

// launcher starts the programs that are measured.
type launcher struct {
	tempDir string // removed at the end
	binDir  string
}

func (l *launcher) binPath(name string) string { return filepath.Join(l.binDir, name) }

// startProcess runs a program. Its standard error goes to a file, which errors
// quote.
func (l *launcher) startProcess(
	name string, env []string, bin string, args ...string,
) (*process, error) {
	log, err := os.CreateTemp(l.tempDir, name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{name: name, logFile: log.Name(), done: make(chan struct{})}
	p.cmd = exec.Command(bin, args...)
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.tempDir}, env...)
	p.cmd.Dir, p.cmd.Stderr, p.cmd.SysProcAttr = l.tempDir, log, childProcAttr()
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	p.lines, p.out = bufio.NewReader(out), out
	p.startedAt = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		_, _ = p.cmd.Process.Wait() // its log says how it ended
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// readLine waits for the next line of the program's output.
func (p *process) readLine() (string, error) { return p.readLineWithin(processTimeout) }

func (p *process) readLineWithin(d time.Duration) (string, error) {
	type answer struct {
		s   string
		err error
	}
	c := make(chan answer, 1)
	go func() {
		s, err := p.lines.ReadString('\n')
		c <- answer{strings.TrimSpace(s), err}
	}()
	select {
	case a := <-c:
		if a.err != nil {
			return "", p.withLog(a.err)
		}
		return a.s, nil
	case <-time.After(d):
		return "", p.withLog(errors.New("no output for " + d.String()))
	}
}

// waitReady waits for the line "ready".
func (p *process) waitReady() error {
	s, err := p.readLine()
	if err == nil && s != "ready" {
		err = p.withLog(fmt.Errorf("printed %q, want ready", s))
	}
	return err
}

// withLog adds the end of the program's log to an error.
func (p *process) withLog(err error) error {
	b, _ := os.ReadFile(p.logFile)
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return fmt.Errorf("%s: %w\n%s", filepath.Base(p.name), err, b)
}

// errIfEnded returns an error if the program has ended.
func (p *process) errIfEnded() error {
	select {
	case <-p.done:
		return p.withLog(errors.New("ended unexpectedly"))
	default:
		return nil
	}
}

// stop asks the program to end, and kills it after five seconds.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		p.kill()
	}
	p.close()
}

// kill ends the program at once.
func (p *process) kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	p.close()
}

func (p *process) close() {
	_ = p.stdin.Close()
	_ = p.out.Close()
	_ = os.Remove(p.logFile)
}

// sleepContext sleeps, and returns early if ctx ends.
func sleepContext(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
