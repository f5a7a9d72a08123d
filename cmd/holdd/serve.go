package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/holdd/holdd/cmd/holdd/daemon"
	"github.com/holdd/holdd/config"
	webconsole "github.com/holdd/holdd/worker/console"
)

func newServeCommand(out *terminal, env environList) *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the daemon", Args: cobra.NoArgs,
		Long: `Run the daemon. Flags override environment variables, which override the settings
file (--config, YAML). Secrets have no flags. "holdd config show" lists all settings. On SIGTERM or
SIGINT the daemon finishes the calls in flight and exits. On SIGHUP, and when one of their files
changes, it reads the tokens, the webhook secrets, the Stripe key and the log level again.`,
		Example: `  STRIPE_API_KEY_FILE=/run/secrets/stripe REDIS_URL=redis://127.0.0.1:6379/0 \
    holdd serve`,
	}
	load := addSettingsFlags(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := load()
		if err != nil {
			return err
		}
		log, level := newLogger(s, out.stderr)
		// Standard error cannot always be synced.
		defer func() { _ = log.Sync() }()
		err = toExitError(runDaemon(cmd.Context(), s, load, log, level), "")
		if e, ok := errors.AsType[*exitError](err); ok && !shouldLogText(s, out.stderr) {
			// A collector of JSON lines must be able to read the last one too.
			log.Error("daemon failed", zap.Error(e.err))
			e.printed = true
		}
		return err
	}
	return cmd
}

// shouldLogText reports whether the log has lines of text instead of JSON.
func shouldLogText(s *config.Settings, w io.Writer) bool {
	return s.LogFormat == "console" || s.LogFormat == "auto" && isTerminal(w)
}

func runDaemon(
	ctx context.Context, s *config.Settings, reload func() (*config.Settings, error),
	log *zap.Logger, level zap.AtomicLevel,
) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	runtime.MemProfileRate = 0 // nothing here reads the memory profile
	memoryCtx, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()
	go daemon.RunGCTuner(memoryCtx)
	release, _, _ := readBuildVersion()
	return daemon.Run(ctx, daemon.Options{
		Settings: s, Logger: log, Level: &level, Version: release,
		Reload: reload, ReloadSignal: hangups,
		Doctor: func(ctx context.Context) []webconsole.DoctorCheck {
			s, err := reload()
			return toConsoleDoctorChecks(runDoctorChecks(ctx, s, err).Checks)
		},
		// Free the garbage of the start (settings, OpenAPI document), which an
		// idle daemon would keep for minutes.
		Ready: func(string) { debug.FreeOSMemory() },
	})
}

// toConsoleDoctorChecks returns the results of a doctor's run as a page shows
// them.
func toConsoleDoctorChecks(results []doctorCheckResult) []webconsole.DoctorCheck {
	checks := make([]webconsole.DoctorCheck, len(results))
	for i, r := range results {
		checks[i] = webconsole.DoctorCheck{Name: r.Check, OK: r.Status == statusOK,
			Status: r.Status.String(), Detail: r.Detail, Hint: r.Hint}
	}
	return checks
}

// newLogger returns a logger of JSON lines, or of text on a terminal, and its
// level. It does not sample: each outcome is a record.
func newLogger(s *config.Settings, w io.Writer) (*zap.Logger, zap.AtomicLevel) {
	level, err := zap.ParseAtomicLevel(s.LogLevel)
	if err != nil {
		level = zap.NewAtomicLevel() // unreachable: config checks the level
	}
	enc := zap.NewProductionEncoderConfig()
	enc.TimeKey, enc.MessageKey = "time", "message"
	enc.EncodeTime = func(t time.Time, out zapcore.PrimitiveArrayEncoder) {
		out.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	enc.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder(enc)
	if shouldLogText(s, w) {
		enc.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		enc.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(enc)
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), level)
	if !s.LogReferences {
		core = referenceRemovingCore{core}
	}
	return zap.New(core), level
}
