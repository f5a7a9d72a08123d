package main

import (
	"context"
	"os"
	"path/filepath"
)

// profileDrain drains once under the profilers and leaves cpu.pprof and
// allocs.pprof in dir.
func (b *bench) profileDrain(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return b.measureDrain(ctx, holddEngine{bench: b, program: "profiled",
		env: []string{"BENCH_PROFILES=" + dir}}, b.workload.drain, 0)
}
