package simtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	errDead = errors.New("this process is dead")
	errCut  = errors.New("connection reset by peer")
)

// wire is one connection of a replica to Redis. It takes a whole request, lets time pass, and hands it on: what goes wrong on the way goes wrong
// here. A request is acted on when it is read for, in the caller's goroutine, so a connection costs nothing while nobody speaks.
type wire struct {
	w     *world
	r     *replica
	inner net.Conn
	in    *bufio.Reader

	mu       sync.Mutex
	deadline time.Time
	closed   chan struct{}
	once     sync.Once
	lent     bool // a request that its sender gave up still uses inner

	out, back []byte // asked and not yet acted on; answered and not yet read
	err       error  // from here on
}

func (c *wire) Write(p []byte) (int, error) {
	if c.r.stalled("") > 0 {
		key := ""
		if label, _ := describe(commands(p)); label != "" { // greetings are all alike
			key = string(p)
		}
		time.Sleep(c.r.stalled(key))
	}
	if c.r.dead.Load() {
		return 0, errDead
	}
	if c.over() {
		return 0, os.ErrDeadlineExceeded
	}
	if c.err != nil {
		return 0, c.err
	}
	c.out = append(c.out, p...)
	return len(p), nil
}

func (c *wire) Read(p []byte) (int, error) {
	if len(c.back) == 0 && c.err == nil {
		if len(c.out) == 0 {
			return 0, c.idle()
		}
		req := c.out
		c.out = nil
		c.back, c.err = c.exchange(req)
	}
	if len(c.back) > 0 {
		n := copy(p, c.back)
		c.back = c.back[n:]
		return n, nil
	}
	return 0, c.err
}

// idle waits for an answer to nothing.
func (c *wire) idle() error {
	var t <-chan time.Time
	if d := c.until(); !d.IsZero() {
		timer := time.NewTimer(time.Until(d))
		defer timer.Stop()
		t = timer.C
	}
	select {
	case <-c.closed:
		return net.ErrClosed
	case <-t:
		return os.ErrDeadlineExceeded
	}
}

// sleepUntil waits for a moment, or reports that the caller's deadline came first.
func (c *wire) sleepUntil(at time.Time) bool {
	d := c.until()
	if !d.IsZero() && d.Before(at) {
		time.Sleep(time.Until(d))
		return false
	}
	time.Sleep(time.Until(at))
	return true
}

func (c *wire) exchange(req []byte) ([]byte, error) {
	cmds := commands(req)
	label, ids := describe(cmds)
	if label == "" { // a greeting
		return c.do(cmds)
	}
	w, r := c.w, c.r
	digest := fmt.Sprintf("%08x", uint32(mix(0, plain(label, req))))
	key := r.name + " " + label + " " + digest
	key += fmt.Sprintf(" %d", w.ordinal(key))
	d := throw(w.p.seed, "redis", key)
	arrive := time.Now().Add(d.between(50*time.Microsecond, 1500*time.Microsecond))
	back := d.between(20*time.Microsecond, 500*time.Microsecond)
	epoch := w.epoch()
	tired := d.between(time.Microsecond, time.Millisecond) // until a caller notices that its time is over: never two at once
	f := w.hit("redis", r, label, key)
	kind := ""
	if f != nil {
		kind = f.kind
	}
	switch kind {
	case "redis:cut before", "redis:down":
		if !c.sleepUntil(arrive) {
			time.Sleep(tired)
			return nil, os.ErrDeadlineExceeded
		}
		w.tr.add(false, "%s redis %s %s %s: %s", r.name, label, digest, ids, kind)
		return nil, errCut
	case "redis:slow":
		arrive = arrive.Add(d.between(100*time.Millisecond, 2500*time.Millisecond))
	case "redis:late":
		arrive = arrive.Add(d.between(3*time.Second, 9*time.Second))
	case "redis:freeze":
		arrive = arrive.Add(w.in(f.to))
	}
	if w.killHere(r, label, false) {
		w.tr.add(false, "%s redis %s %s %s: dies before it", r.name, label, digest, ids)
		return nil, errDead
	}
	if !c.sleepUntil(arrive) {
		// The caller gave up. What it sent is in the server's buffer all the same.
		w.tr.add(false, "%s redis %s %s %s: given up (%s)", r.name, label, digest, ids, kind)
		c.lend(func() {
			time.Sleep(time.Until(arrive))
			if epoch == w.epoch() {
				reply, _ := c.do(cmds)
				w.claimed(r, label, reply)
				w.tr.add(false, "%s redis %s %s %s: takes effect after it was given up: %s", r.name, label, digest, ids, brief(label, reply))
			}
		})
		time.Sleep(tired)
		return nil, os.ErrDeadlineExceeded
	}
	if r.dead.Load() {
		return nil, errDead
	}
	if epoch != w.epoch() { // it was on its way when the server died
		return nil, errCut
	}
	if kind == "redis:forget scripts" {
		if _, err := c.do([][]byte{[]byte("*2\r\n$6\r\nSCRIPT\r\n$5\r\nFLUSH\r\n")}); err != nil {
			return nil, err
		}
	}
	if kind == "redis:cut after" && len(cmds) > 1 && d.chance(0.5) {
		cmds = cmds[:1+d.IntN(len(cmds)-1)] // in between
	}
	reply, err := c.do(cmds)
	if err != nil {
		return nil, err
	}
	w.tr.add(background[label],
		"%s redis %s %s %s: %s %s", r.name, label, digest, ids, brief(label, reply), kind)
	w.claimed(r, label, reply)
	w.watch(label, cmds, reply)
	if w.killHere(r, label, true) {
		w.tr.add(false, "%s dies after %s", r.name, label)
		return nil, errDead
	}
	switch kind {
	case "redis:cut after":
		return nil, errCut
	case "redis:cut reply":
		return reply[:len(reply)/2], errCut
	}
	in := c.sleepUntil(time.Now().Add(back))
	if d := r.stalled(key); d > 0 {
		time.Sleep(d)
	}
	if r.dead.Load() {
		return nil, errDead
	}
	if !in || c.over() {
		time.Sleep(tired)
		return nil, os.ErrDeadlineExceeded
	}
	return reply, nil
}

// do hands commands to Redis one by one: over a pipe without a buffer a pipeline would come to a halt.
func (c *wire) do(cmds [][]byte) ([]byte, error) {
	var all []byte
	c.w.wind()
	for _, cmd := range cmds {
		if _, err := c.inner.Write(cmd); err != nil {
			return nil, err
		}
		reply, err := readReply(c.in)
		if err != nil {
			return nil, err
		}
		all = append(all, reply...)
	}
	return all, nil
}

// lend lets a late request use the connection that its sender has closed.
func (c *wire) lend(f func()) {
	c.mu.Lock()
	c.lent = true
	c.mu.Unlock()
	c.w.go_(func() {
		f()
		c.inner.Close()
	})
}

func (c *wire) over() bool {
	d := c.until()
	return !d.IsZero() && !time.Now().Before(d)
}

func (c *wire) until() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deadline
}

func (c *wire) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.lent {
			c.inner.Close()
		}
	})
	return nil
}

func (c *wire) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}
func (c *wire) SetReadDeadline(t time.Time) error  { return c.SetDeadline(t) }
func (c *wire) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }
func (c *wire) LocalAddr() net.Addr                { return c.inner.LocalAddr() }
func (c *wire) RemoteAddr() net.Addr               { return c.inner.RemoteAddr() }

// commands cuts a request into its commands.
func commands(req []byte) (cmds [][]byte) {
	r := bufio.NewReader(bytes.NewReader(req))
	for {
		cmd, err := readReply(r)
		if err != nil {
			return cmds
		}
		cmds = append(cmds, cmd)
	}
}

// words are the arguments of a command.
func words(cmd []byte) (out []string) {
	r := bufio.NewReader(bytes.NewReader(cmd))
	head, _ := r.ReadString('\n')
	n, _ := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(head, "*")))
	for range n {
		size, _ := r.ReadString('\n')
		k, _ := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(size, "$")))
		b := make([]byte, k+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return out
		}
		out = append(out, string(b[:k]))
	}
	return out
}

// describe says what a request is about: the script, and the holds that it names. A greeting has no name.
func describe(cmds [][]byte) (label string, ids string) {
	for _, cmd := range cmds {
		ws := words(cmd)
		name := ""
		switch strings.ToUpper(ws[0]) {
		case "HELLO", "CLIENT", "PING", "SELECT", "AUTH":
			continue
		case "EVALSHA", "EVAL":
			n, _ := strconv.Atoi(ws[2])
			name = script(ws[3:3+n], len(ws)-3-n)
			if name == "commit" || name == "touch" || name == "read" {
				for _, a := range ws[3+n:] {
					if strings.HasPrefix(a, "pi_") && len(a) < 60 {
						ids += a + " "
					}
				}
			}
		case "TIME", "ZADD", "ZCARD", "ZRANGEBYSCORE", "SETNX", "SADD", "SRANDMEMBER", "XLEN":
			name = "report"
		case "XDEL":
			name = "handled"
		default:
			name = "other"
		}
		if label == "" {
			label = name
		}
	}
	return label, strings.TrimSpace(ids)
}

// script tells the scripts apart by the keys that they take, and some by how much they are told.
func script(keys []string, args int) string {
	if len(keys) == 0 {
		return "other"
	}
	name := func(i int) string { return keys[i][strings.LastIndex(keys[i], ":")+1:] }
	switch n := len(keys); {
	case strings.HasPrefix(keys[0], "holdd:{reconcile}"):
		return "compare"
	case keys[0] == "holdd:{0}:published":
		return "publish"
	case keys[0] == "holdd:{0}:episodes":
		return "report"
	case keys[0] == "holdd:inbox":
		return "inbox"
	case strings.HasPrefix(keys[0], "holdd:{authorizations}") && n == 2:
		return "attempt"
	case strings.HasPrefix(keys[0], "holdd:{authorizations}"):
		return "report"
	case n > 10:
		return "commit"
	case n == 5:
		return "due"
	case n == 4:
		return "claim"
	case n == 3 && name(0) == "holds":
		return "note"
	case n == 3:
		return "take"
	case n == 2 && name(1) == "events":
		return "touch"
	case n == 2 && name(0) == "unverified":
		return "unverified"
	case n == 2 && (name(0) == "refresh" || name(0) == "mirror" || args > 2):
		return name(0)
	case n == 2:
		return "milestones"
	case n == 1 && name(0) == "holds":
		return "read"
	}
	return "other"
}

// background are requests that a story leaves out.
var background = map[string]bool{"due": true, "milestones": true, "report": true, "take": true, "other": true, "unverified": true, "read": true, "refresh": true, "mirror": true,
	"expiring": true, "attention": true, "compare": true, "inbox": true}

// chance is what a process draws by itself: tokens of attempts, names of comparisons and of events that are no hold's.
var chance = regexp.MustCompile(`rec_[a-z2-7]{16}|evt_[a-z2-7]{20}|[A-Z2-7]{26}`)

// plain is a request or a reply without that, so that the same seed is the same run.
func plain(label string, text []byte) string {
	switch label {
	case "compare", "attempt", "publish", "report":
		return chance.ReplaceAllString(string(text), "*")
	}
	return string(text)
}

// brief is what a trace tells of a reply.
func brief(label string, reply []byte) string {
	switch label {
	case "commit", "touch":
		return strings.ReplaceAll(strings.TrimSpace(string(reply)), "\r\n", " ")
	case "claim":
		var ids []string
		for _, s := range strings.Split(string(reply), "\r\n") {
			if strings.HasPrefix(s, "pi_") {
				ids = append(ids, s)
			}
		}
		return fmt.Sprint(ids)
	}
	return fmt.Sprintf("%08x", uint32(mix(0, plain(label, reply))))
}

// readReply reads one whole value of the protocol, as it is.
func readReply(r *bufio.Reader) ([]byte, error) {
	head, err := r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(head[1:])))
	switch head[0] {
	case '$', '=', '!':
		if n < 0 {
			return head, nil
		}
		body := make([]byte, n+2)
		if _, err := io.ReadFull(r, body); err != nil {
			return nil, err
		}
		return append(head, body...), nil
	case '*', '~', '>', '%':
		if head[0] == '%' {
			n *= 2
		}
		for range n {
			item, err := readReply(r)
			if err != nil {
				return nil, err
			}
			head = append(head, item...)
		}
	}
	return head, nil
}
