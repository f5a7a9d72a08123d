// Package check holds deploy/ against what holdd really is: the alerts and the
// board against the metrics of the running binary, the runbook against its
// command line, every example against the settings it knows, the image against
// a root directory with nothing else in it.
//
// It is a module of its own, because it reads each file with the reader that
// will read it in the end (Prometheus', Compose's, Kubernetes', Helm's), and
// these are no dependencies of holdd. `make deploy-check` runs it, and puts
// promtool and helm on its PATH.
//
// What can't be tried without the engine itself (that Docker builds the image,
// that Kubernetes starts the pod, that systemd starts the unit) is come as near
// to as can be: the Dockerfile's own build command, the binary in a chroot with
// exactly the files that the image has, as its user, and strict decoding into
// the types of the API.
package check
