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

// listenUnix binds the socket. Two daemons that start at once and see the same
// stale socket must not each remove the other's: the lock on the folder makes
// looking and binding one step.
func listenUnix(path string) (net.Listener, error) {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("can't listen at unix://%s: %w", path, err)
	}
	defer folder.Close() // gives the lock back
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("can't lock %s: %w", filepath.Dir(path), err)
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("can't listen at unix://%s: %w", path, err)
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s is there and is no socket: choose another path, or move it away",
			path)
	default:
		c, err := net.DialTimeout("unix", path, 2*time.Second)
		if err == nil {
			c.Close()
			return nil, fmt.Errorf("another process serves at unix://%s: stop it first", path)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) { // busy or not ours to ask: it may be alive
			return nil, fmt.Errorf("can't tell whether another process serves at unix://%s: %w",
				path, err)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("can't replace the socket that is left: %w", err)
		}
	}
	old := syscall.Umask(0o117) // 0660 from its first moment
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("can't listen at unix://%s: %w", path, err)
	}
	return l, nil
}
