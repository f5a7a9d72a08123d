//go:build !unix

package api

import (
	"errors"
	"net"
)

func listenUnix(string) (net.Listener, error) {
	return nil, errors.New("this system has no Unix sockets that can be shared safely: use 127.0.0.1:8420")
}
