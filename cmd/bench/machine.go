package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// describeMachine returns what the figures depend on: processor, kernel, Redis
// and Go.
func describeMachine(ctx context.Context) (table, error) {
	redis, err := exec.CommandContext(ctx, "redis-server", "--version").Output()
	if err != nil {
		return table{}, fmt.Errorf("redis-server: %w", err)
	}
	return table{title: "Machine", header: tableRow{"CPU", "cores", "kernel", "Redis", "Go"},
		rows: []tableRow{{cpuModel(), fmt.Sprint(runtime.NumCPU()), kernelRelease(),
			wordAfter(string(redis), "v="), runtime.Version()}}}, nil
}

// cpuModel returns the processor's name, as far as the system tells it.
func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo") // missing beside Linux
	for line := range strings.Lines(string(b)) {
		name, model, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return runtime.GOARCH
}

func kernelRelease() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return runtime.GOOS + " " + strings.TrimSpace(string(b))
}

// wordAfter returns the word that follows prefix in text.
func wordAfter(text, prefix string) string {
	_, rest, _ := strings.Cut(text, prefix)
	word, _, _ := strings.Cut(rest, " ")
	return word
}
