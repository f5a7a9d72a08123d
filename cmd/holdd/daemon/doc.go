// Package daemon puts the parts together: settings in, a running holdd out. It
// is the one place that knows all of them, and it decides nothing: what happens
// to a hold is decided in worker/hold, done in worker.
//
// Order matters twice. Starting: the store first, because a Redis that would
// lose holds must stop everything; then the worker; then the listener, so that
// nobody is told yes before the worker could act. Stopping: the listener first,
// so that nobody is told yes any more; then the worker, which finishes what is
// under way and gives the rest back; then the store.
//
// Memory is the process' own matter and not [Run]'s: [TuneGC] keeps a sidecar
// at rest under some 25 MB and leaves room for garbage while there is work.
//
// It stands apart from the command line so that other programs (the development
// one, tests) run the very same daemon.
package daemon
