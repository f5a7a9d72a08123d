package storetest

import "syscall"

// childProcAttr makes the kernel end the server when the test process dies
// without cleaning up, and keeps a terminal's Ctrl-C away from it.
func childProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
