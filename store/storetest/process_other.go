//go:build !linux

package storetest

import "syscall"

func ownProcess() *syscall.SysProcAttr { return nil }
