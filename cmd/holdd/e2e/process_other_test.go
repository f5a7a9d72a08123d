//go:build !linux

package e2e_test

import "syscall"

func ownProcess() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
