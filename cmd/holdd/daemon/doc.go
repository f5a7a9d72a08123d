// Package daemon builds a running holdd from the settings. It is the one
// package that imports all parts. It decides nothing about holds: worker/hold
// decides, and worker acts.
//
// [Run] starts the parts in this order:
//
//   - The store, because a Redis that may lose holds must stop the start.
//   - The worker and the notifier.
//   - The HTTP server, so that the API accepts no request before the worker
//     runs.
//
// It stops the server first, so that the API accepts no request that the worker
// would not see. Then it stops the worker, which finishes the calls in flight
// and returns its other claims, and then the tracer, if traces are on, and the
// store.
//
// parts.go builds and connects the parts. options.go copies the settings into
// the options of each part.
//
// [RunGCTuner] bounds the memory of the process. It is separate from [Run],
// because a process that runs more than a daemon has its own needs.
//
// The package is separate from the command line so that other programs, such as
// the development server and the tests, run the same daemon.
package daemon
