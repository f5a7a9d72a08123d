package main

import (
	"context"
	"errors"
	"io"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/holdd/holdd/cmd/holdd/daemon"
	"github.com/holdd/holdd/config"
)

func (a *app) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the daemon", Args: cobra.NoArgs,
		Long: `Run the daemon. Settings come from --config (YAML), over it the environment, over it flags; secrets have no flags. "holdd config show"
lists them all. It ends at SIGTERM or SIGINT, after the calls in flight.`,
		Example: "  STRIPE_API_KEY_FILE=/run/secrets/stripe REDIS_URL=redis://127.0.0.1:6379/0 holdd serve",
	}
	load := a.addSettingsFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := load()
		if err != nil {
			return err
		}
		log, level := newLogger(s, a.stderr)
		// standard error can't always be synced, and nothing is lost by it
		defer func() { _ = log.Sync() }()
		release, _ := buildVersion()
		err = runDaemon(cmd.Context(), s, log, level, release)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, daemon.ErrSetting):
			return &exitError{code: exitUsage, err: err}
		default:
			return &exitError{code: exitFailed, err: err}
		}
	}
	return cmd
}

func runDaemon(
	ctx context.Context, s *config.Settings, log *zap.Logger, level zap.AtomicLevel, release string,
) error {
	runtime.MemProfileRate = 0 // the memory profiler's table serves nobody here
	memoryCtx, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()
	go daemon.TuneGC(memoryCtx)
	return daemon.Run(ctx, daemon.Options{
		Settings: s, Logger: log, Level: &level, Version: release,
		// What starting needed (the OpenAPI document, the settings) is garbage
		// now, and an idle daemon would keep it for minutes.
		Ready: func(string) { debug.FreeOSMemory() },
	})
}

// newLogger writes JSON lines, or for people where somebody looks on. Nothing
// is sampled: each outcome is a record. Its level can be changed while it is in
// use.
func newLogger(s *config.Settings, w io.Writer) (*zap.Logger, zap.AtomicLevel) {
	level, err := zap.ParseAtomicLevel(s.LogLevel)
	if err != nil {
		level = zap.NewAtomicLevel() // info; settings were checked
	}
	enc := zap.NewProductionEncoderConfig()
	enc.TimeKey, enc.MessageKey = "time", "message"
	enc.EncodeTime = func(t time.Time, out zapcore.PrimitiveArrayEncoder) {
		out.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	enc.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder(enc)
	if s.LogFormat == "console" || s.LogFormat == "auto" && isTerminal(w) {
		enc.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		enc.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(enc)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), level)), level
}
