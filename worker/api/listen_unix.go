//go:build unix

package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// listenUnix binds a socket. It locks the folder while it checks for a stale
// socket and binds the new one. Otherwise two daemons that start at the same
// time could each remove the other's socket.
func listenUnix(path string) (net.Listener, error) {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("listen on unix://%s: %w", path, err)
	}
	defer folder.Close() // releases the lock
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", filepath.Dir(path), err)
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("listen on unix://%s: %w", path, err)
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s exists and is not a socket: choose another path, or remove it",
			path)
	default:
		c, err := net.DialTimeout("unix", path, 2*time.Second)
		if err == nil {
			c.Close()
			return nil, fmt.Errorf("another process listens on unix://%s: stop it first", path)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) { // busy or not permitted: it may be in use
			return nil, fmt.Errorf("check whether another process listens on unix://%s: %w",
				path, err)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("replace the stale socket: %w", err)
		}
	}
	old := syscall.Umask(0o117) // the socket is created with mode 0660
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listen on unix://%s: %w", path, err)
	}
	return l, nil
}
