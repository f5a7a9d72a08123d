package envtest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/gateway"
)

// ErrKilled is the error of a killed process' connections.
var ErrKilled = errors.New("this process was killed")

// APIKey is the Stripe key of all processes.
const APIKey = "sk_test_env"

// Process stands for the process of one replica: it owns the connections to
// Redis and Stripe, and ends them when it is killed.
type Process struct {
	env    *Env
	killed atomic.Bool

	mu    sync.Mutex
	conns []net.Conn // to Redis
}

// NewProcess returns a process without connections.
func (e *Env) NewProcess() *Process { return &Process{env: e} }

// Rates are the budget of most environments.
var Rates = store.RateLimitOptions{Write: 25, Read: 25, Total: 100}

// OpenStore opens a store on this process' connections to Redis.
func (p *Process) OpenStore(o store.Options) *store.Store {
	p.env.T.Helper()
	o.URL, o.Dialer = "redis://in-process:6379", p.dialRedis
	st, _, err := store.Open(p.env.Ctx, o)
	if err != nil {
		p.env.T.Fatal(err)
	}
	return st
}

// NewGateway returns a gateway on this process' connection to Stripe. A non-nil
// onIO is called before each request is sent and before its answer is read; it
// may kill the process.
func (p *Process) NewGateway(onIO func()) *gateway.Gateway {
	p.env.T.Helper()
	g, err := gateway.New(gateway.Options{APIKey: APIKey, BaseURL: "http://stripe.test",
		Transport: &stripeTransport{process: p, onIO: onIO, next: p.env.Sim.Transport()}})
	if err != nil {
		p.env.T.Fatal(err)
	}
	return g
}

// SimulateSIGKILL has the effect of kill -9: the process sends nothing more and
// receives nothing more.
func (p *Process) SimulateSIGKILL() {
	p.killed.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// IsKilled reports whether the process was killed.
func (p *Process) IsKilled() bool { return p.killed.Load() }

func (p *Process) dialRedis(ctx context.Context, network, addr string) (net.Conn, error) {
	if p.killed.Load() {
		return nil, ErrKilled
	}
	// Over a plain pipe, a long pipeline of commands deadlocks.
	c, err := (&storetest.MemoryRedis{Miniredis: p.env.Redis}).Dial(ctx, network, addr)
	if err == nil {
		p.mu.Lock()
		p.conns = append(p.conns, c)
		p.mu.Unlock()
	}
	return c, err
}

// stripeTransport is a process' connection to Stripe.
type stripeTransport struct {
	process *Process
	onIO    func() // may be nil
	next    http.RoundTripper
}

func (t *stripeTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.callOnIOAndCheckAlive() {
		return nil, ErrKilled
	}
	res, err := t.next.RoundTrip(req)
	if !t.callOnIOAndCheckAlive() {
		if err == nil {
			res.Body.Close()
		}
		return nil, io.ErrUnexpectedEOF
	}
	return res, err
}

// callOnIOAndCheckAlive reports whether the process is alive after onIO.
func (t *stripeTransport) callOnIOAndCheckAlive() bool {
	if t.onIO != nil {
		t.onIO()
	}
	return !t.process.killed.Load()
}
