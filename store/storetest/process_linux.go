package storetest

import "syscall"

// childProcAttr makes the kernel end the server when the test process dies, and
// protects the server from a Ctrl-C in the terminal.
func childProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
