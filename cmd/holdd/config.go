package main

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdd/holdd/config"
)

// addSettingsFlags adds --config and a flag for each setting, for the daemon. It
// returns a function that loads the settings.
func addSettingsFlags(cmd *cobra.Command, env environList) func() (*config.Settings, error) {
	load := addConfigFlagAndLoader(cmd, env, cmd.Flags())
	config.AddFlags(cmd.Flags())
	return load
}

// addConfigFlagAndLoader adds --config to a command that reads the daemon's settings from
// their file and the environment, and from flags that may be nil.
func addConfigFlagAndLoader(
	cmd *cobra.Command, env environList, flags *pflag.FlagSet,
) func() (*config.Settings, error) {
	path := addConfigFlag(cmd)
	return func() (*config.Settings, error) {
		s, err := config.Load(flags, env, cmp.Or(*path, env.get("HOLDD_CONFIG")))
		return s, toExitError(err, "")
	}
}

// addConfigFlag adds --config, and returns where its value is.
func addConfigFlag(cmd *cobra.Command) *string {
	path := cmd.Flags().String("config", "", "settings file, YAML (HOLDD_CONFIG)")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	return path
}

func newConfigCommand(out *terminal, env environList) *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Check or show the daemon's settings",
	}
	cmd.AddCommand(newConfigCheckCommand(out, env), newConfigShowCommand(out, env))
	return cmd
}

func newConfigCheckCommand(out *terminal, env environList) *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check the settings without starting the daemon",
		Args: cobra.NoArgs,
		Long: `Read the settings as "holdd serve" does and list all problems. Exit code 0 means
that the settings are valid.`,

		Example: "  holdd config check --config /etc/holdd/holdd.yaml",
	}
	load := addConfigFlagAndLoader(cmd, env, nil)
	cmd.RunE = func(*cobra.Command, []string) error {
		s, err := load()
		if err != nil {
			return err
		}
		printWarnings(out, s)
		mode := "Test mode"
		if s.Livemode() {
			mode = out.colorTextForStdout(boldRed, liveModeNotice)
		}
		fmt.Fprintf(out.stdout, "The settings are valid. %s.\n", mode)
		return nil
	}
	return cmd
}

func newConfigShowCommand(out *terminal, env environList) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show", Short: "Show the settings in effect with their sources, without secrets",
		Args: cobra.NoArgs,
		Long: `Print a settings file with the settings in effect, each with its source. Secrets are
left out.`,
	}
	load := addConfigFlagAndLoader(cmd, env, nil)
	cmd.RunE = func(*cobra.Command, []string) error {
		s, err := load()
		if err != nil {
			return err
		}
		printWarnings(out, s)
		return s.WriteYAML(out.stdout)
	}
	return cmd
}

func printWarnings(out *terminal, s *config.Settings) {
	for _, w := range s.Warnings() {
		out.printNote("warning: %s", sanitizeLines(w))
	}
}
