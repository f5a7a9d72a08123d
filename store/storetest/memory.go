package storetest

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	lua "github.com/yuin/gopher-lua"
)

// MemoryRedis is a Redis in the test process. It needs no socket and uses the
// clock of a testing/synctest bubble. It hides its settings, as some managed
// Redis services do.
type MemoryRedis struct {
	*miniredis.Miniredis
}

// shrinkInterpreter sizes the Lua interpreter for the small scripts of the
// store. Each script gets a new interpreter, and by default that is most of the
// cost of a simulation.
var shrinkInterpreter = sync.OnceFunc(func() {
	lua.RegistrySize, lua.CallStackSize = 1024, 64
})

// StartInProcess starts a Redis inside the test process, until the test ends.
func StartInProcess(tb testing.TB) *MemoryRedis {
	tb.Helper()
	shrinkInterpreter()
	m := &MemoryRedis{miniredis.NewMiniRedis()}
	m.ClockTTL(true)
	tb.Cleanup(m.Close)
	return m
}

// URL returns the URL of this Redis, for use with [MemoryRedis.Dial].
func (m *MemoryRedis) URL() string { return "redis://in-process" }

// Dial connects to this Redis. It ignores the network and the address. It is a
// dialer for the options of a store or a client.
func (m *MemoryRedis) Dial(context.Context, string, string) (net.Conn, error) {
	c, err := m.Miniredis.Dial()
	if err != nil {
		return nil, err
	}
	b := &bufferedConn{Conn: c, wakeup: make(chan struct{}, 1), closed: make(chan struct{})}
	go b.writeLoop()
	return b, nil
}

// bufferedConn is a connection whose writes do not block, as on a socket. Over
// a plain pipe, a pipeline of commands deadlocks: the server waits until the
// client reads the first reply, and the client waits until the server reads the
// last command.
type bufferedConn struct {
	net.Conn
	wakeup chan struct{} // the queue has bytes
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	queue []byte
	err   error
}

// maxQueuedBytes is the maximum number of bytes that a client may send before
// the server reads them.
const maxQueuedBytes = 64 << 20

func (b *bufferedConn) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil && len(b.queue)+len(p) > maxQueuedBytes {
		b.err = errors.New("the send buffer is full: read the replies of this Redis")
	}
	if b.err != nil {
		return 0, b.err
	}
	b.queue = append(b.queue, p...)
	select {
	case b.wakeup <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (b *bufferedConn) writeLoop() {
	for {
		select {
		case <-b.closed:
			return
		case <-b.wakeup:
		}
		b.mu.Lock()
		p := b.queue
		b.queue = nil
		b.mu.Unlock()
		if _, err := b.Conn.Write(p); err != nil {
			b.mu.Lock()
			b.err = err
			b.mu.Unlock()
			return
		}
	}
}

func (b *bufferedConn) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Conn.Close()
}
