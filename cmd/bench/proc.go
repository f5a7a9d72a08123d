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

// patience bounds every wait for a program to come up or to end.
const patience = 30 * time.Second

// proc is a program that was started, and that is ended by its id.
type proc struct {
	name  string
	cmd   *exec.Cmd
	lines *bufio.Reader // its standard output
	out   io.Closer
	stdin io.WriteCloser
	log   string // where its standard error goes
	done  chan struct{}
	began time.Time
}

// start runs a program. What it writes to standard error goes to a file and is shown if it fails.
func (b *bench) start(name string, env []string, bin string, args ...string) (*proc, error) {
	log, err := os.CreateTemp(b.dir, name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &proc{name: name, log: log.Name(), done: make(chan struct{})}
	p.cmd = exec.Command(bin, args...)
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir}, env...)
	p.cmd.Dir, p.cmd.Stderr, p.cmd.SysProcAttr = b.dir, log, ownProcess()
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	p.lines, p.out = bufio.NewReader(out), out
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		_, _ = p.cmd.Process.Wait() // how it ended is in its log
		close(p.done)
	}()
	return p, nil
}

func (p *proc) pid() int { return p.cmd.Process.Pid }

// line waits for the next line of the program's output.
func (p *proc) line() (string, error) { return p.lineWithin(patience) }

func (p *proc) lineWithin(d time.Duration) (string, error) {
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
			return "", p.failed(a.err)
		}
		return a.s, nil
	case <-time.After(d):
		return "", p.failed(errors.New("it said nothing for " + d.String()))
	}
}

// ready waits until the program says that it is.
func (p *proc) ready() error {
	s, err := p.line()
	if err == nil && s != "ready" {
		err = p.failed(fmt.Errorf("it said %q and not ready", s))
	}
	return err
}

// failed tells what a program wrote last.
func (p *proc) failed(err error) error {
	b, _ := os.ReadFile(p.log) // without it the error has to do
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return fmt.Errorf("%s: %w\n%s", filepath.Base(p.name), err, b)
}

// alive is an error if the program has ended by itself.
func (p *proc) alive() error {
	select {
	case <-p.done:
		return p.failed(errors.New("it ended"))
	default:
		return nil
	}
}

// stop asks the program to end, and makes it end.
func (p *proc) stop() {
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
func (p *proc) kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	p.close()
}

func (p *proc) close() {
	_ = p.stdin.Close()
	_ = p.out.Close()
	_ = os.Remove(p.log)
}

// wait sleeps, or less if ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
