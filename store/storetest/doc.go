// Package storetest starts Redis servers for tests. [Start] runs a redis-server
// on the loopback interface, with an append-only file in a directory of the
// test. The test can kill the server and restart it with its data. The server
// ends with the test.
//
// The tests of the store depend on how Redis behaves when it crashes, hangs or
// fails over, so they use real servers. A server starts in about a tenth of a
// second, and each test has its own. [StartCluster] and [StartSentinel] run
// several servers.
//
// If another process takes the chosen port, Start tries another one. If the
// test process dies, the Linux kernel ends its servers. If a server does not
// start, the test fails with its log.
//
// [StartInProcess] starts a Redis in the test process, for simulations in
// virtual time.
package storetest
