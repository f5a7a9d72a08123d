// Package storetest gives tests a real Redis: a redis-server of their own on
// the loopback interface, with an append-only file in a directory of its own. A
// test can kill it and start it again with what it wrote. It ends with the
// test.
//
// A store depends on what Redis does when it dies, hangs or fails over, so that
// part is not imitated. A server starts in about a tenth of a second. Each test
// has its own, and none waits for another.
//
// If another process takes a port that was free, the next one is tried. If the
// test process dies, on Linux the kernel ends its servers. If a server does not
// start, the error contains its log. A test waits for a state, with a bound,
// and never for a time.
//
// [StartInProcess] is a Redis inside the test process, for simulations in
// virtual time.
package storetest
