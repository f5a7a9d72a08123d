package main

import (
	"context"
	"os"
	"path/filepath"
)

// profileDrain drains once under profilers, which write cpu.pprof and
// allocs.pprof to dir.
func (b *drainBench) profileDrain(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return b.measureDrain(ctx, holddEngine{launcher: b.launcher, program: "profiled",
		env: []string{"BENCH_PROFILES=" + dir}}, b.workload.drain, 0)
}
