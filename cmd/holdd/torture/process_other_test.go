//go:build !linux

package torture

import "syscall"

func ownProcess() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
