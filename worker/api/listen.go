package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
)

// maxSocketPath is the size of sun_path, without its terminating zero, on the
// system with the shortest one.
const maxSocketPath = 103

// Listen listens on host:port, or on unix:///path with a socket that its owner
// and group may use. It replaces the socket of a dead process. A socket in use,
// or a file of another type, is an error.
func Listen(addr string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("invalid address %q: want an absolute path, "+
				"such as unix:///run/holdd.sock", addr)
		}
		if len(path) > maxSocketPath {
			return nil, fmt.Errorf("invalid address %q: want a path of at most %d bytes", addr,
				maxSocketPath)
		}
		return listenUnix(path)
	}
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
		return nil, fmt.Errorf("invalid address %q: want host:port, such as 127.0.0.1:8420, "+
			"or unix:///path", addr)
	}
	// The timeouts of the server end each connection, so keep-alive probes would
	// only make a connection slower to accept.
	l, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, errors.Unwrap(err))
	}
	return l, nil
}

// IsLoopbackAddress reports whether only this machine can reach the address, so
// that holdd may serve it without tokens.
func IsLoopbackAddress(addr string) bool {
	if strings.HasPrefix(addr, "unix://") {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	return err == nil && host != "" && isLoopbackHost(host)
}

// NewHTTPServer returns a server of h that limits each connection: time for headers
// and body, idle time, and size of the headers.
func NewHTTPServer(h http.Handler, log *zap.Logger) *http.Server {
	if log == nil {
		log = zap.NewNop()
	}
	errorLog, err := zap.NewStdLogAt(log, zap.DebugLevel) // mostly about broken connections
	if err != nil {                                       // only for an invalid level
		errorLog = zap.NewStdLog(log)
	}
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       20 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes - 4<<10, // net/http allows 4 KiB more
		ConnContext:       contextWithConn,
		ErrorLog:          errorLog,
	}
}
