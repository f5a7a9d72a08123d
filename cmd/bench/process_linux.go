package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// childProcAttr makes the kernel end the program when this one dies, and keeps
// a terminal's Ctrl-C from it.
func childProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// cpuTime is what a process has used so far, in user and system mode, by the
// scheduler's own count: ticks would miss short work.
func cpuTime(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		// the kernel's way to name another process' CPU clock
		return 0, err
	}
	return time.Duration(t.Nano()), nil
}

// residentMemory is the memory that a process has, in bytes.
func residentMemory(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0, fmt.Errorf("process %d tells nothing of its memory", pid)
	}
	kib, err := strconv.ParseInt(f[0], 10, 64)
	return kib << 10, err
}
