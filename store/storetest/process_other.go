//go:build !linux

package storetest

import "syscall"

func childProcAttr() *syscall.SysProcAttr { return nil }
