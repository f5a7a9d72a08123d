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

// MemoryRedis is a Redis inside the test process, for simulations. It needs no
// socket, and follows the clock of a testing/synctest bubble. Like some managed
// ones, it hides its settings.
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

// URL is used together with [MemoryRedis.Dial].
func (m *MemoryRedis) URL() string { return "redis://in-process" }

// Dial is the dialer for the options of a store or client. It ignores network
// and address.
func (m *MemoryRedis) Dial(context.Context, string, string) (net.Conn, error) {
	c, err := m.Miniredis.Dial()
	if err != nil {
		return nil, err
	}
	b := &bufferedConn{Conn: c, wakeup: make(chan struct{}, 1), closed: make(chan struct{})}
	go b.writeLoop()
	return b, nil
}

// bufferedConn is a connection whose writes never wait for the other side, as
// on a socket. Over a bare pipe a pipeline of commands deadlocks: the server
// waits until its first reply is read, the client until its last command is
// read.
type bufferedConn struct {
	net.Conn
	wakeup chan struct{} // there is something to send
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	queue []byte
	err   error
}

// maxQueuedBytes bounds the bytes that a client may send without reading a
// reply.
const maxQueuedBytes = 64 << 20

func (b *bufferedConn) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil && len(b.queue)+len(p) > maxQueuedBytes {
		b.err = errors.New("more was sent than this Redis takes in before it is read from")
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
