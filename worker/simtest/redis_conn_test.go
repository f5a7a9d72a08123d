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
	errReplicaDead     = errors.New("this process is dead")
	errConnectionReset = errors.New("connection reset by peer")
)

// redisConn is one connection of a replica to Redis. It takes a whole request,
// lets time pass, and hands it on: what goes wrong on the way goes wrong here.
// A request is executed when its reply is read, in the caller's goroutine, so
// an idle connection needs no goroutine.
type redisConn struct {
	world   *world
	replica *replica
	inner   net.Conn
	reader  *bufio.Reader

	mu                sync.Mutex
	deadline          time.Time
	closed            chan struct{}
	closeOnce         sync.Once
	usedByLateRequest bool // a request that its sender gave up still uses inner

	unsent, unread []byte // asked and not yet acted on; answered and not yet read
	err            error  // from here on
}

func (c *redisConn) Write(p []byte) (int, error) {
	if c.replica.stallTime("") > 0 {
		key := ""
		if label, _ := describeCommands(splitCommands(p)); label != "" { // greetings are all alike
			key = string(p)
		}
		time.Sleep(c.replica.stallTime(key))
	}
	if c.replica.dead.Load() {
		return 0, errReplicaDead
	}
	if c.deadlinePassed() {
		return 0, os.ErrDeadlineExceeded
	}
	if c.err != nil {
		return 0, c.err
	}
	c.unsent = append(c.unsent, p...)
	return len(p), nil
}

func (c *redisConn) Read(p []byte) (int, error) {
	if len(c.unread) == 0 && c.err == nil {
		if len(c.unsent) == 0 {
			return 0, c.waitIdle()
		}
		req := c.unsent
		c.unsent = nil
		c.unread, c.err = c.exchange(req)
	}
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	return 0, c.err
}

// waitIdle waits for an answer to nothing.
func (c *redisConn) waitIdle() error {
	var t <-chan time.Time
	if d := c.currentDeadline(); !d.IsZero() {
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

// sleepUntil waits for a moment, or reports that the caller's deadline came
// first.
func (c *redisConn) sleepUntil(at time.Time) bool {
	d := c.currentDeadline()
	if !d.IsZero() && d.Before(at) {
		time.Sleep(time.Until(d))
		return false
	}
	time.Sleep(time.Until(at))
	return true
}

func (c *redisConn) exchange(req []byte) ([]byte, error) {
	cmds := splitCommands(req)
	label, ids := describeCommands(cmds)
	if label == "" { // a greeting
		return c.sendCommands(cmds)
	}
	w, r := c.world, c.replica
	digest := fmt.Sprintf("%08x", uint32(hashSeed(0, maskRandomIDs(label, req))))
	key := r.name + " " + label + " " + digest
	key += fmt.Sprintf(" %d", w.countOccurrence(key))
	d := newRNG(w.plan.seed, "redis", key)
	arriveAt := time.Now().Add(d.durationBetween(50*time.Microsecond, 1500*time.Microsecond))
	replyDelay := d.durationBetween(20*time.Microsecond, 500*time.Microsecond)
	epoch := w.epoch()
	// until a caller notices that its time is over: never two at once
	timeoutDelay := d.durationBetween(time.Microsecond, time.Millisecond)
	f := w.matchFault("redis", r, label, key)
	kind := ""
	if f != nil {
		kind = f.kind
	}
	switch kind {
	case "redis:cut before", "redis:down":
		if !c.sleepUntil(arriveAt) {
			time.Sleep(timeoutDelay)
			return nil, os.ErrDeadlineExceeded
		}
		w.trace.add(false, "%s redis %s %s %s: %s", r.name, label, digest, ids, kind)
		return nil, errConnectionReset
	case "redis:slow":
		arriveAt = arriveAt.Add(d.durationBetween(100*time.Millisecond, 2500*time.Millisecond))
	case "redis:late":
		arriveAt = arriveAt.Add(d.durationBetween(3*time.Second, 9*time.Second))
	case "redis:freeze":
		arriveAt = arriveAt.Add(w.durationUntil(f.to))
	}
	if w.killAtCall(r, label, false) {
		w.trace.add(false, "%s redis %s %s %s: dies before it", r.name, label, digest, ids)
		return nil, errReplicaDead
	}
	if !c.sleepUntil(arriveAt) {
		// The caller gave up. What it sent is in the server's buffer all the
		// same.
		w.trace.add(false, "%s redis %s %s %s: given up (%s)", r.name, label, digest, ids, kind)
		c.runAfterClose(func() {
			time.Sleep(time.Until(arriveAt))
			if epoch == w.epoch() {
				reply, _ := c.sendCommands(cmds)
				w.recordClaims(r, label, reply)
				w.trace.add(false, "%s redis %s %s %s: takes effect after it was given up: %s",
					r.name, label, digest, ids, summarizeReply(label, reply))
			}
		})
		time.Sleep(timeoutDelay)
		return nil, os.ErrDeadlineExceeded
	}
	if r.dead.Load() {
		return nil, errReplicaDead
	}
	if epoch != w.epoch() { // it was on its way when the server died
		return nil, errConnectionReset
	}
	if kind == "redis:forget scripts" {
		if _, err := c.sendCommands(
			[][]byte{[]byte("*2\r\n$6\r\nSCRIPT\r\n$5\r\nFLUSH\r\n")}); err != nil {
			return nil, err
		}
	}
	if kind == "redis:cut after" && len(cmds) > 1 && d.chance(0.5) {
		cmds = cmds[:1+d.IntN(len(cmds)-1)] // in between
	}
	reply, err := c.sendCommands(cmds)
	if err != nil {
		return nil, err
	}
	w.trace.add(backgroundLabels[label],
		"%s redis %s %s %s: %s %s", r.name, label, digest, ids, summarizeReply(label, reply), kind)
	w.recordClaims(r, label, reply)
	w.checkClaimOrder(label, cmds, reply)
	if w.killAtCall(r, label, true) {
		w.trace.add(false, "%s dies after %s", r.name, label)
		return nil, errReplicaDead
	}
	switch kind {
	case "redis:cut after":
		return nil, errConnectionReset
	case "redis:cut reply":
		return reply[:len(reply)/2], errConnectionReset
	}
	in := c.sleepUntil(time.Now().Add(replyDelay))
	if d := r.stallTime(key); d > 0 {
		time.Sleep(d)
	}
	if r.dead.Load() {
		return nil, errReplicaDead
	}
	if !in || c.deadlinePassed() {
		time.Sleep(timeoutDelay)
		return nil, os.ErrDeadlineExceeded
	}
	return reply, nil
}

// sendCommands hands commands to Redis one by one: over a pipe without a buffer
// a pipeline would come to a halt.
func (c *redisConn) sendCommands(cmds [][]byte) ([]byte, error) {
	var all []byte
	c.world.syncRedisClock()
	for _, cmd := range cmds {
		if _, err := c.inner.Write(cmd); err != nil {
			return nil, err
		}
		reply, err := readRESPValue(c.reader)
		if err != nil {
			return nil, err
		}
		all = append(all, reply...)
	}
	return all, nil
}

// runAfterClose lets a late request use the connection that its sender has
// closed.
func (c *redisConn) runAfterClose(f func()) {
	c.mu.Lock()
	c.usedByLateRequest = true
	c.mu.Unlock()
	c.world.spawn(func() {
		f()
		c.inner.Close()
	})
}

func (c *redisConn) deadlinePassed() bool {
	d := c.currentDeadline()
	return !d.IsZero() && !time.Now().Before(d)
}

func (c *redisConn) currentDeadline() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deadline
}

func (c *redisConn) Close() error {
	c.closeOnce.Do(func() {
		close(c.closed)
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.usedByLateRequest {
			c.inner.Close()
		}
	})
	return nil
}

func (c *redisConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}
func (c *redisConn) SetReadDeadline(t time.Time) error  { return c.SetDeadline(t) }
func (c *redisConn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }
func (c *redisConn) LocalAddr() net.Addr                { return c.inner.LocalAddr() }
func (c *redisConn) RemoteAddr() net.Addr               { return c.inner.RemoteAddr() }

// splitCommands cuts a request into its commands.
func splitCommands(req []byte) (cmds [][]byte) {
	r := bufio.NewReader(bytes.NewReader(req))
	for {
		cmd, err := readRESPValue(r)
		if err != nil {
			return cmds
		}
		cmds = append(cmds, cmd)
	}
}

// commandArgs are the arguments of a command.
func commandArgs(cmd []byte) (out []string) {
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

// describeCommands says what a request is about: the script, and the holds that
// it names. A greeting has no name.
func describeCommands(cmds [][]byte) (label string, ids string) {
	for _, cmd := range cmds {
		ws := commandArgs(cmd)
		name := ""
		switch strings.ToUpper(ws[0]) {
		case "HELLO", "CLIENT", "PING", "SELECT", "AUTH":
			continue
		case "EVALSHA", "EVAL":
			n, _ := strconv.Atoi(ws[2])
			name = scriptName(ws[3:3+n], len(ws)-3-n)
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

// scriptName tells the scripts apart by the keys that they take, and some by
// how much they are told.
func scriptName(keys []string, args int) string {
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
	case n == 6:
		return "due"
	case n == 5 && name(0) == "leased":
		return "claim"
	case n == 5:
		return "take"
	case n == 4 && name(0) == "holds":
		return "note"
	case n == 4:
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

// backgroundLabels are requests that a story leaves out.
var backgroundLabels = map[string]bool{"due": true, "milestones": true, "report": true,
	"take": true, "other": true, "unverified": true, "read": true, "refresh": true, "mirror": true,
	"expiring": true, "attention": true, "compare": true, "inbox": true}

// randomIDs is what a process draws by itself: tokens of attempts, names of
// comparisons and of events that are no hold's.
var randomIDs = regexp.MustCompile(`rec_[a-z2-7]{16}|evt_[a-z2-7]{20}|[A-Z2-7]{26}`)

// maskRandomIDs is a request or a reply without that, so that the same seed is
// the same run.
func maskRandomIDs(label string, text []byte) string {
	switch label {
	case "compare", "attempt", "publish", "report":
		return randomIDs.ReplaceAllString(string(text), "*")
	}
	return string(text)
}

// summarizeReply is what a trace tells of a reply.
func summarizeReply(label string, reply []byte) string {
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
	return fmt.Sprintf("%08x", uint32(hashSeed(0, maskRandomIDs(label, reply))))
}

// respItems returns the items of a list without nested lists.
func respItems(value []byte) (items []string) {
	r := bufio.NewReader(bytes.NewReader(value))
	if head, err := r.ReadString('\n'); err != nil || head[0] != '*' {
		return nil
	}
	for {
		item, err := readRESPValue(r)
		if err != nil {
			return items
		}
		head, body, _ := bytes.Cut(item, []byte("\r\n"))
		if item[0] != '$' {
			body = head[1:] // a number
		}
		items = append(items, string(bytes.TrimSuffix(body, []byte("\r\n"))))
	}
}

// readRESPValue reads one whole value of the protocol, as it is.
func readRESPValue(r *bufio.Reader) ([]byte, error) {
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
			item, err := readRESPValue(r)
			if err != nil {
				return nil, err
			}
			head = append(head, item...)
		}
	}
	return head, nil
}
