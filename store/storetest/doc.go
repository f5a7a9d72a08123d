// Package storetest gives tests a real Redis: a redis-server of their own on the loopback interface, in a directory of its own, that
// writes an append-only file, can be killed and started again with what it wrote, and is gone when the test ends.
//
// What a store promises rests on what Redis does when it dies, hangs or fails over, so that part is not imitated. A server
// starts in about a tenth of a second; each test has its own and none waits for another.
//
// What can go wrong, and what is done about it: a port that was free is taken a moment later (another one is tried); a test process that
// dies can't clean up (on Linux the kernel ends its servers); a server that doesn't come up (its log is in the error). Waiting is
// always for a state, with a bound, never for a time.
package storetest
