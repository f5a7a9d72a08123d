package api

import (
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// refusalWindow and maxRefusalLines bound the log: any caller who reaches the
// port can be refused as often as it likes.
const (
	refusalWindow   = time.Minute
	maxRefusalLines = 20
)

// RefusalLog logs refused authentication: one line a minute for each peer, at
// most 20 a minute in all. It never logs what the caller sent as a token. It is
// safe for concurrent use.
type RefusalLog struct {
	log *zap.Logger

	mu       sync.Mutex
	begun    time.Time       // of the window
	peers    map[string]bool // with a line in this window
	refusals uint64          // since the start
}

// NewRefusalLog returns a RefusalLog that logs to log.
func NewRefusalLog(log *zap.Logger) *RefusalLog { return &RefusalLog{log: log} }

// LogRefusedRequest records that a request was refused. by is the name of its token; empty
// if the token is missing or unknown.
func (l *RefusalLog) LogRefusedRequest(r *http.Request, code, by string) {
	peer := peerIPOfRequest(r)
	total, logged := l.countRefusal(peer)
	if !logged {
		return
	}
	fields := []zap.Field{zap.String("event", "authentication.refused"), zap.String("code", code),
		zap.String("peer", peer), zap.String("method", cutWithEllipsis(r.Method, 20)),
		zap.String("path", cutWithEllipsis(r.URL.Path, 200)), zap.String("by", by),
		zap.Uint64("refused_total", total)}
	if forwarded := r.Header.Get("X-Forwarded-For"); forwarded != "" {
		// What the proxy says. Any caller can send the header.
		fields = append(fields, zap.String("forwarded_for", cutWithEllipsis(forwarded, 200)))
	}
	l.log.Warn("authentication refused", fields...)
}

// countRefusal counts a refusal and reports whether it is to be logged.
func (l *RefusalLog) countRefusal(peer string) (total uint64, logged bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusals++
	if now.Sub(l.begun) >= refusalWindow {
		l.begun, l.peers = now, map[string]bool{}
	}
	if l.peers[peer] || len(l.peers) == maxRefusalLines {
		return l.refusals, false
	}
	l.peers[peer] = true
	return l.refusals, true
}

// peerIPOfRequest returns the address of the other end of the connection, without
// its port; "unix" for a Unix socket.
func peerIPOfRequest(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "unix"
	}
	return host
}
