//go:build !unix

package api

import (
	"errors"
	"net"
)

func listenUnix(string) (net.Listener, error) {
	return nil, errors.New("Unix sockets are not supported on this system: use 127.0.0.1:8420")
}
