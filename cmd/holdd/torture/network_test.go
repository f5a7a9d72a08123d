package torture

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// flow is a direction of a connection.
type flow int

const (
	requests flow = iota // to what the replica needs
	answers
)

// errReset says that a connection is to be reset.
var errReset = errors.New("reset by a fault")

// networkFault is what a network does to one direction of a connection. forward
// passes on b, or a part of it, while the fault lasts. An error closes the
// connection.
type networkFault struct {
	name    string
	flow    flow
	forward func(rng *rand.Rand, ended <-chan struct{}, dst io.Writer, b []byte) error
}

var networkFaults = []networkFault{
	{"blackholed, requests", requests, blackhole},
	{"blackholed, answers", answers, blackhole},
	{"slowed, requests", requests, slow},
	{"slowed, answers", answers, slow},
	{"reset, requests", requests, reset},
	{"reset, answers", answers, reset},
	{"closed after some bytes", answers, truncate},
	{"in small pieces", answers, slice},
	{"at a few KB/s", answers, throttle},
}

// blackhole loses what is sent. The connection stays open until the fault ends.
func blackhole(_ *rand.Rand, ended <-chan struct{}, _ io.Writer, _ []byte) error {
	<-ended
	return io.ErrUnexpectedEOF
}

func slow(rng *rand.Rand, ended <-chan struct{}, dst io.Writer, b []byte) error {
	pause(ended, randomDuration(rng, 50*time.Millisecond, 3*time.Second))
	_, err := dst.Write(b)
	return err
}

func reset(*rand.Rand, <-chan struct{}, io.Writer, []byte) error { return errReset }

// truncate closes the connection in the middle of what is sent.
func truncate(rng *rand.Rand, _ <-chan struct{}, dst io.Writer, b []byte) error {
	if _, err := dst.Write(b[:rng.IntN(len(b))]); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}

func slice(rng *rand.Rand, ended <-chan struct{}, dst io.Writer, b []byte) error {
	return writePieces(ended, dst, b, func() int { return 20 + rng.IntN(41) }, 2*time.Millisecond)
}

func throttle(_ *rand.Rand, ended <-chan struct{}, dst io.Writer, b []byte) error {
	return writePieces(ended, dst, b, func() int { return 200 }, 100*time.Millisecond)
}

// injectNetworkFault does something to one of the connections for a while, and
// makes it whole again.
func (w *world) injectNetworkFault(ctx context.Context, rng *rand.Rand, wires []*faultyProxy) {
	x := wires[rng.IntN(len(wires))]
	n, lasts := rng.IntN(len(networkFaults)+2),
		randomDuration(rng, 300*time.Millisecond, 5*time.Second)
	if !x.faultMu.TryLock() {
		return
	}
	defer x.faultMu.Unlock()
	if n >= len(networkFaults) {
		w.increment(x.name + ": cut")
		x.stop()
		sleepContext(ctx, lasts)
		for x.start() != nil && sleepContext(w.t.Context(), 50*time.Millisecond) {
			// its port may be in use for a moment
		}
		return
	}
	w.increment(x.name + ": " + networkFaults[n].name)
	end := x.setFault(networkFaults[n])
	sleepContext(ctx, lasts)
	end()
}

// TestFaultyProxy_Faults sends ten bytes through each fault, to a server that
// sends them back.
func TestFaultyProxy_Faults(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c) // ends with the connection
				c.Close()
			}()
		}
	}()
	const text = "ten bytes."
	p := newFaultyProxy(t, "echo", l.Addr().String())
	for _, f := range networkFaults {
		end := p.setFault(f)
		c, err := net.Dial("tcp", p.addr())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		blackholed := strings.HasPrefix(f.name, "blackholed")
		if blackholed {
			_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // sets a deadline always
		}
		got, err := io.ReadAll(io.LimitReader(c, int64(len(text))))
		passes := f.name == "in small pieces" || f.name == "at a few KB/s" ||
			strings.HasPrefix(f.name, "slowed")
		if passes && (string(got) != text || err != nil) || !passes && string(got) == text ||
			blackholed && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %q, %v", f.name, got, err)
		}
		end()
		c.Close()
	}
}
