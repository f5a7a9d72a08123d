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
	peers map[string]int // open connections by address
	seq   uint64         // of the last connection
}

// LimitConnections bounds the connections of a listener.
func LimitConnections(l net.Listener) *ConnectionLimiter {
	return &ConnectionLimiter{Listener: l, peers: map[string]int{}}
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
		c := &limitedConn{Conn: inner, limiter: l, peer: peerAddress(inner)}
		victim := l.add(c)
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
func (l *ConnectionLimiter) add(c *limitedConn) (victim *limitedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	c.seq, c.index = l.seq, len(l.open)
	l.open = append(l.open, c)
	l.peers[c.peer]++
	ofPeer := c.peer != "" && l.peers[c.peer] > maxPeerConnections
	if !ofPeer && len(l.open) <= maxConnections {
		return nil
	}
	for _, other := range l.open {
		if other == c || other.serving || ofPeer && other.peer != c.peer {
			continue
		}
		if victim == nil || l.closesBefore(other, victim) {
			victim = other
		}
	}
	if victim == nil {
		return c
	}
	return victim
}

// closesBefore reports whether a is closed rather than b.
func (l *ConnectionLimiter) closesBefore(a, b *limitedConn) bool {
	switch {
	case a.admitted != b.admitted:
		return !a.admitted
	case l.peers[a.peer] != l.peers[b.peer]:
		return l.peers[a.peer] > l.peers[b.peer]
	}
	return a.seq < b.seq
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
	if l.peers[c.peer]--; l.peers[c.peer] == 0 {
		delete(l.peers, c.peer)
	}
}

// limitedConn is a connection of a [ConnectionLimiter]. The limiter's mutex
// guards the fields below peer.
type limitedConn struct {
	net.Conn
	limiter *ConnectionLimiter
	peer    string // empty for a Unix socket

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

// peerAddress returns the address of a connection without its port. IPv6
// addresses count by their /64, which is what one site has.
func peerAddress(c net.Conn) string {
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
