package torture

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// faultyProxy is a TCP proxy between a replica and something that it needs. It
// has one fault at a time.
type faultyProxy struct {
	name, upstream string
	faultMu        sync.Mutex // held while a fault lasts

	mu       sync.Mutex
	listener net.Listener
	address  string
	open     bool
	fault    *activeFault
	conns    map[*net.TCPConn]bool
	pipes    sync.WaitGroup
}

// activeFault is a fault until it ends.
type activeFault struct {
	networkFault
	ended chan struct{}
}

func newFaultyProxy(t testing.TB, name, upstream string) *faultyProxy {
	t.Helper()
	p := &faultyProxy{name: name, upstream: upstream, address: "127.0.0.1:0",
		conns: map[*net.TCPConn]bool{}}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p
}

func (p *faultyProxy) addr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

// start accepts connections, after the first time on the same port.
func (p *faultyProxy) start() error {
	l, err := net.Listen("tcp", p.addr())
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.listener, p.address, p.open = l, l.Addr().String(), true
	p.mu.Unlock()
	p.pipes.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.pipes.Go(func() { p.serve(c.(*net.TCPConn)) })
		}
	})
	return nil
}

// stop closes the port and all connections.
func (p *faultyProxy) stop() {
	p.mu.Lock()
	p.open = false
	_ = p.listener.Close() // closed twice if a test ends while the port is closed
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.pipes.Wait()
}

// setFault begins a fault. The function that it returns ends it.
func (p *faultyProxy) setFault(f networkFault) (end func()) {
	a := &activeFault{networkFault: f, ended: make(chan struct{})}
	p.mu.Lock()
	p.fault = a
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		p.fault = nil
		p.mu.Unlock()
		close(a.ended)
	}
}

// currentFault returns the fault of one direction, or nil.
func (p *faultyProxy) currentFault(direction flow) *activeFault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault == nil || p.fault.flow != direction {
		return nil
	}
	return p.fault
}

func (p *faultyProxy) serve(client *net.TCPConn) {
	defer client.Close()
	c, err := net.Dial("tcp", p.upstream)
	if err != nil {
		return
	}
	server := c.(*net.TCPConn)
	defer server.Close()
	p.mu.Lock()
	open := p.open
	if open {
		p.conns[client], p.conns[server] = true, true
	}
	p.mu.Unlock()
	if !open {
		return
	}
	defer func() {
		p.mu.Lock()
		delete(p.conns, client)
		delete(p.conns, server)
		p.mu.Unlock()
	}()
	var both sync.WaitGroup
	both.Go(func() { p.copy(requests, server, client) })
	both.Go(func() { p.copy(answers, client, server) })
	both.Wait()
}

// copy copies what src sends to dst, with the fault of the moment, until one of
// them closes.
func (p *faultyProxy) copy(direction flow, dst, src *net.TCPConn) {
	defer dst.Close()
	defer src.Close()
	buffer := make([]byte, 32<<10)
	rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	for {
		n, err := src.Read(buffer)
		if err != nil {
			return
		}
		if f := p.currentFault(direction); f != nil {
			err = f.forward(rng, f.ended, dst, buffer[:n])
		} else {
			_, err = dst.Write(buffer[:n])
		}
		if err != nil {
			for _, c := range []*net.TCPConn{src, dst} {
				if err == errReset {
					_ = c.SetLinger(0) // close sends a reset
				}
			}
			return
		}
	}
}

// pause waits for d or until the fault ends.
func pause(ended <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ended:
	}
}

// writePieces writes b in pieces of at most size bytes with a pause after each.
func writePieces(
	ended <-chan struct{}, dst io.Writer, b []byte, size func() int, after time.Duration,
) error {
	for len(b) > 0 {
		n := min(len(b), max(1, size()))
		if _, err := dst.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
		pause(ended, after)
	}
	return nil
}
