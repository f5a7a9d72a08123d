package torture

import "syscall"

// ownProcess makes the kernel end a replica when the test process dies without
// cleaning up, and keeps a terminal's Ctrl-C from it.
func ownProcess() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
