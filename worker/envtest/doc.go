// Package envtest gives the tests of the worker and of its parts an environment
// in virtual time. Only tests import it.
//
// The store, its scripts, go-redis, the gateway and stripe-go are real. Redis
// runs inside the test process, Stripe is the simulator, and the clock is that
// of a testing/synctest bubble, so hours pass in a second. [Run] starts an
// environment and ends it. A [Process] stands for one replica: a test can kill
// it as kill -9 would.
//
// Package simtest does not use it. Its Redis and Stripe connections inject
// faults, and its delays are drawn from a seed.
package envtest
