//go:build !linux

package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func childProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// cpuTime asks ps, which counts in hundredths of a second.
func cpuTime(pid int) (d time.Duration, err error) {
	out, err := exec.Command("ps", "-o", "time=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return 0, err
	}
	for part := range strings.SplitSeq(strings.TrimSpace(string(out)), ":") { // [h:]mm:ss.cc
		f, err := strconv.ParseFloat(part, 64)
		if err != nil {
			return 0, fmt.Errorf("ps said %q", out)
		}
		d = d*60 + time.Duration(f*float64(time.Second))
	}
	return d, nil
}

// residentMemory returns the resident memory of a process, in bytes.
func residentMemory(pid int) (int64, error) {
	out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return 0, err
	}
	kib, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return kib << 10, err
}
