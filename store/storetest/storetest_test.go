package storetest_test

import (
	"context"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
)

func TestRestart_KeepsWrites(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB, ...string) *storetest.Redis{
		"tcp":  storetest.Start,
		"unix": storetest.StartUnix,
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			c := r.Client()
			defer c.Close()
			if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
				t.Fatal(err)
			}
			pid := r.PID()
			r.Kill()
			if r.PID() != 0 || c.Ping(t.Context()).Err() == nil {
				t.Fatal("the server runs after Kill")
			}
			r.Restart()
			if got := c.Get(t.Context(), "k").Val(); r.PID() == pid || got != "v" {
				t.Fatalf("after the restart: pid %d (before: %d), k %q", r.PID(), pid, got)
			}
		})
	}
}

func TestPause_Resume(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t)
	c := r.Client()
	defer c.Close()
	r.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	answered := make(chan error, 1)
	go func() { answered <- c.Ping(t.Context()).Err() }()
	select {
	case err := <-answered:
		t.Fatalf("a paused Redis answered: %v", err)
	case <-ctx.Done():
	}
	r.Resume()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}

func TestStartSentinel_FailsOver(t *testing.T) {
	t.Parallel()
	s := storetest.StartSentinel(t)
	old := s.Master()
	if old != s.Servers[0] {
		t.Fatal("the first server is not the master")
	}
	old.Kill()
	c := s.AwaitFailover(old).Client()
	defer c.Close()
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestStartCluster_ServesAllSlots(t *testing.T) {
	t.Parallel()
	c := storetest.StartCluster(t, 3)
	if len(c.Masters) != 3 {
		t.Fatal(len(c.Masters))
	}
}
