// Command profiled runs holdd's daemon under the profilers of CPU time and
// allocations, and writes the profiles when it ends.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/holdd/holdd/cmd/holdd/daemon"
	"github.com/holdd/holdd/config"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "profiled:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	runtime.MemProfileRate = 16 << 10
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go daemon.RunGCTuner(context.WithoutCancel(ctx))
	settings, err := config.Load(nil, os.Environ(), "")
	if err != nil {
		return err
	}
	dir := os.Getenv("BENCH_PROFILES")
	cpu, err := os.Create(filepath.Join(dir, "cpu.pprof"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cpu.Close()) }()
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return err
	}
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	log := zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(os.Stderr)),
		zapcore.InfoLevel))
	err = daemon.Run(ctx, daemon.Options{Settings: settings, Logger: log, Version: "profiled"})
	pprof.StopCPUProfile()
	allocs, e := os.Create(filepath.Join(dir, "allocs.pprof"))
	if e != nil {
		return errors.Join(err, e)
	}
	return errors.Join(err, pprof.Lookup("allocs").WriteTo(allocs, 0), allocs.Close())
}
