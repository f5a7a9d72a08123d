package api

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Listen opens the address that holdd serves at: host:port, or unix:///path for
// a socket that the owner and the group may use. A socket that a dead process
// left behind is replaced; a living one, and a file that is no socket, are left
// alone.
func Listen(addr string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("%q: the path of a socket starts with a slash, such as unix:///run/holdd.sock", addr)
		}
		if len(path) > 103 { // the smallest sun_path among the systems that Go knows, less its end
			return nil, fmt.Errorf("%q: the path of a socket has at most 103 bytes", addr)
		}
		return listenUnix(path)
	}
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
		return nil, fmt.Errorf("%q is no address to listen at: send host:port, such as 127.0.0.1:8420, or unix:///path", addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("can't listen at %s: %w", addr, errors.Unwrap(err))
	}
	return l, nil
}

// IsLoopbackAddress tells whether nobody but this machine can reach the
// address, so that it may be served without tokens.
func IsLoopbackAddress(addr string) bool {
	if strings.HasPrefix(addr, "unix://") {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	return err == nil && host != "" && isLoopbackHost(host)
}

// NewServer bounds what a connection may take of the daemon: time to send its
// headers and its body, idle time, size of the headers.
func NewServer(h http.Handler, log *zap.Logger) *http.Server {
	if log == nil {
		log = zap.NewNop()
	}
	quiet, err := zap.NewStdLogAt(log, zap.DebugLevel) // of broken connections, mostly
	if err != nil {                                    // only for a level that doesn't exist
		quiet = zap.NewStdLog(log)
	}
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       20 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          quiet,
	}
}
