package api_test

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
)

func TestIsLoopbackAddress(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:8420": true, "127.8.9.1:1": true, "[::1]:8420": true, "localhost:8420": true, "LOCALHOST:1": true, "[::ffff:127.0.0.1]:1": true, "unix:///run/holdd.sock": true,
		"0.0.0.0:8420": false, ":8420": false, "[::]:8420": false, "10.0.0.1:8420": false, "holdd.internal:8420": false, "127.0.0.1": false, "": false, "localhost.example:1": false,
	} {
		if api.IsLoopbackAddress(addr) != want {
			t.Errorf("%q: %v", addr, !want)
		}
	}
}

func TestListen_InvalidAddress(t *testing.T) {
	taken, err := api.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for addr, want := range map[string]string{
		"8420": "host:port", "127.0.0.1": "host:port", "127.0.0.1:": "host:port", "http://127.0.0.1:1": "host:port", "": "host:port",
		"unix://run/holdd.sock": "want an absolute path", "unix:///" + strings.Repeat("x", 110): "want a path of at most 103 bytes", "unix:///nowhere/at/all/holdd.sock": "listen on unix",
		taken.Addr().String(): "in use",
	} {
		if l, err := api.Listen(addr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v %v", addr, l, err)
		}
	}
}

func TestListen_UnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdd.sock")
	l, err := api.Listen("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", info, err)
	}
	if _, err := api.Listen("unix://" + path); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a living socket: %v", err)
	}
	m := newFakeHolds()
	a, err := api.New(api.Options{Holds: holdsOf(m)})
	if err != nil {
		t.Fatal(err)
	}
	s := api.NewHTTPServer(a, nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c := newTestClient(t, "unix://"+path, "")
	if _, created, err := c.Schedule(t.Context(), newScheduleRequest(m, testHoldID)); err != nil || !created {
		t.Errorf("%v %v", created, err)
	}
	s.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}

	// The socket of a dead process is replaced.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	if l, err = api.Listen("unix://" + path); err != nil {
		t.Fatal(err)
	}
	l.Close()

	// A file that is not a socket is left alone.
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Listen("unix://" + path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("%q %v", b, err)
	}
}

// Of many processes that start at one stale socket, exactly one listens.
func TestListen_UnixSocketRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdd.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	var wg sync.WaitGroup
	won := make(chan net.Listener, 16)
	for range 16 {
		wg.Go(func() {
			if l, err := api.Listen("unix://" + path); err == nil {
				won <- l
			}
		})
	}
	wg.Wait()
	close(won)
	n := 0
	for l := range won {
		t.Cleanup(func() { l.Close() })
		n++
	}
	if n != 1 {
		t.Errorf("%d serve", n)
	}
}

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"24h": 24 * time.Hour, "90m": 90 * time.Minute, "3d": 72 * time.Hour, "1d12h": 36 * time.Hour, "90d": 90 * 24 * time.Hour, "2160h0m0s": 90 * 24 * time.Hour, "0d1h": time.Hour,
		"": 0, "0": 0, "0h": 0, "-1h": 0, "1d-1h": 0, "91d": 0, "90d1s": 0, "d": 0, "1.5d": 0, "-1d": 0, "3": 0, "1d2d": 0, "soon": 0, "99999999999h": 0, "+1d": 0, "P1D": 0,
	} {
		if d, err := api.ParseLookahead(s); d != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %v %v", s, d, err)
		}
	}
}
