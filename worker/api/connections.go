package api

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

const (
	// maxConnections bounds the connections of a listener. One that has sent a
	// part of its headers takes about 25 KiB.
	maxConnections = 1024
	// maxPeerConnections bounds those of one address, which may be a proxy's.
	maxPeerConnections = 512
)

// ConnectionLimiter is a listener that bounds its open connections. It does not
// refuse a new connection while others have proved nothing: it closes one of
// those instead. A flood of connections that send nothing, or a part of a
// request, therefore keeps out no caller that sends a request at once.
//
// It closes a connection that never sent an admitted request before one that is
// idle after such a request, then one of the address with the most connections,
// and of these the oldest. It never closes a connection whose admitted request
// is being served.
type ConnectionLimiter struct {
	net.Listener
	closedCount atomic.Uint64

	mu    sync.Mutex
	open  []*limitedConn // in no order
	peers map[string]*peerConnCount
	seq   uint64 // of the last connection
}

// peer is an address that has open connections. Every connection points to its
// own, because add compares all of them: a listener that accepts more slowly
// than a flood connects fills the kernel's queue, and the next caller's SYN is
// dropped and sent again after a second.
type peerConnCount struct {
	address string // empty for a Unix socket
	open    int
}

// LimitConnections bounds the connections of a listener.
func LimitConnections(l net.Listener) *ConnectionLimiter {
	return &ConnectionLimiter{Listener: l, peers: map[string]*peerConnCount{}}
}

// ClosedConnections returns how many connections were closed because there were
// too many.
func (l *ConnectionLimiter) ClosedConnections() uint64 { return l.closedCount.Load() }

// Accept implements [net.Listener].
func (l *ConnectionLimiter) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &limitedConn{Conn: inner, limiter: l}
		victim := l.add(c, peerIPOrIPv6Prefix(inner))
		if victim != nil {
			l.closedCount.Add(1)
			_ = victim.Close() // its owner sees the error
		}
		if victim != c {
			return c, nil
		}
	}
}

// add adds a connection and returns the one to close, nil if there is room.
func (l *ConnectionLimiter) add(c *limitedConn, address string) (victim *limitedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	c.seq, c.index = l.seq, len(l.open)
	l.open = append(l.open, c)
	if c.peer = l.peers[address]; c.peer == nil {
		c.peer = &peerConnCount{address: address}
		l.peers[address] = c.peer
	}
	c.peer.open++
	ofPeer := address != "" && c.peer.open > maxPeerConnections
	if !ofPeer && len(l.open) <= maxConnections {
		return nil
	}
	for _, other := range l.open {
		if other == c || other.serving || ofPeer && other.peer != c.peer {
			continue
		}
		if victim == nil || other.closesBefore(victim) {
			victim = other
		}
	}
	if victim == nil {
		return c
	}
	return victim
}

// closesBefore reports whether c is closed rather than other.
func (c *limitedConn) closesBefore(other *limitedConn) bool {
	switch {
	case c.admitted != other.admitted:
		return !c.admitted
	case c.peer.open != other.peer.open:
		return c.peer.open > other.peer.open
	}
	return c.seq < other.seq
}

func (l *ConnectionLimiter) removeConn(c *limitedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.index < 0 {
		return
	}
	last := l.open[len(l.open)-1]
	l.open[c.index], last.index = last, c.index
	l.open[len(l.open)-1] = nil
	l.open, c.index = l.open[:len(l.open)-1], -1
	if c.peer.open--; c.peer.open == 0 {
		delete(l.peers, c.peer.address)
	}
}

// limitedConn is a connection of a [ConnectionLimiter], whose mutex guards the
// fields below it.
type limitedConn struct {
	net.Conn
	limiter *ConnectionLimiter

	peer     *peerConnCount
	seq      uint64
	index    int  // in open; -1 once it is closed
	serving  bool // an admitted request is being served
	admitted bool // a request was admitted
}

// Close implements [net.Conn].
func (c *limitedConn) Close() error {
	c.limiter.removeConn(c)
	return c.Conn.Close()
}

// CloseWrite lets net/http send a response before it closes a connection whose
// request it did not read.
func (c *limitedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// setServingRequest records that an admitted request begins or ends. c may be
// nil.
func (c *limitedConn) setServingRequest(serving bool) {
	if c == nil {
		return
	}
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.serving, c.admitted = serving, true
}

// peerIPOrIPv6Prefix returns the address of a connection without its port. IPv6
// addresses count by their /64, which is what one site has.
func peerIPOrIPv6Prefix(c net.Conn) string {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	if tcp.IP.To4() == nil {
		return tcp.IP.Mask(net.CIDRMask(64, 128)).String()
	}
	return tcp.IP.String()
}

type connContextKey struct{}

// contextWithConn is [http.Server.ConnContext].
func contextWithConn(ctx context.Context, c net.Conn) context.Context {
	if limited, ok := c.(*limitedConn); ok {
		return context.WithValue(ctx, connContextKey{}, limited)
	}
	return ctx
}

// connFromContext returns nil for a connection without a limiter.
func connFromContext(ctx context.Context) *limitedConn {
	c, _ := ctx.Value(connContextKey{}).(*limitedConn)
	return c
}
