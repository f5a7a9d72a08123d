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

// processTimeout bounds every wait for a program to come up or to end.
const processTimeout = 30 * time.Second

// process is a program that was started, and that is ended by its id.
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

// startProcess runs a program. What it writes to standard error goes to a file
// and is shown if it fails.
func (b *bench) startProcess(
	name string, env []string, bin string, args ...string,
) (*process, error) {
	log, err := os.CreateTemp(b.tempDir, name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{name: name, logFile: log.Name(), done: make(chan struct{})}
	p.cmd = exec.Command(bin, args...)
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.tempDir}, env...)
	p.cmd.Dir, p.cmd.Stderr, p.cmd.SysProcAttr = b.tempDir, log, childProcAttr()
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
		_, _ = p.cmd.Process.Wait() // how it ended is in its log
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
		return "", p.withLog(errors.New("it said nothing for " + d.String()))
	}
}

// waitReady waits until the program says that it is.
func (p *process) waitReady() error {
	s, err := p.readLine()
	if err == nil && s != "ready" {
		err = p.withLog(fmt.Errorf("it said %q and not ready", s))
	}
	return err
}

// withLog tells what a program wrote last.
func (p *process) withLog(err error) error {
	b, _ := os.ReadFile(p.logFile) // without it the error has to do
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return fmt.Errorf("%s: %w\n%s", filepath.Base(p.name), err, b)
}

// errIfEnded is an error if the program has ended by itself.
func (p *process) errIfEnded() error {
	select {
	case <-p.done:
		return p.withLog(errors.New("it ended"))
	default:
		return nil
	}
}

// stop asks the program to end, and makes it end.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
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

// sleepContext sleeps, or less if ctx ends.
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
