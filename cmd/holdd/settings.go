package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/config"
)

// addSettingsFlags adds --config and a flag for each setting, and returns what
// loads them.
func (a *app) addSettingsFlags(cmd *cobra.Command) func() (*config.Settings, error) {
	var path string
	cmd.Flags().StringVar(&path, "config", "", "settings file, YAML (HOLDD_CONFIG)")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	config.AddFlags(cmd.Flags())
	return func() (*config.Settings, error) {
		if path == "" {
			path = a.getenv("HOLDD_CONFIG")
		}
		s, err := config.Load(cmd.Flags(), a.environ, path)
		return s, addExitCode(err, "")
	}
}

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Check or show the daemon's settings", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	check := &cobra.Command{
		Use: "check", Short: "Say what is wrong with the settings, without starting anything",
		Args:    cobra.NoArgs,
		Long:    "Reads the settings as \"holdd serve\" would, and tells all that is wrong with them. Exit code 0 means that they can be used.",
		Example: "  holdd config check --config /etc/holdd/holdd.yaml",
	}
	loadCheck := a.addSettingsFlags(check)
	check.RunE = func(*cobra.Command, []string) error {
		s, err := loadCheck()
		if err != nil {
			return err
		}
		for _, w := range s.Warnings() {
			a.printNote("warning: %s", sanitizeLines(w))
		}
		mode := "test mode"
		if s.Livemode() {
			mode = a.colorizeStdout(boldRed, liveModeNotice)
		}
		fmt.Fprintf(a.stdout, "The settings are fine. %s.\n", mode)
		return nil
	}
	show := &cobra.Command{
		Use:   "show",
		Short: "Show the settings in effect and where each comes from, without secrets",
		Args:  cobra.NoArgs,
		Long:  "Prints a settings file with what is in effect, each line with its source. Secrets are left out.",
	}
	loadShow := a.addSettingsFlags(show)
	show.RunE = func(*cobra.Command, []string) error {
		s, err := loadShow()
		if err != nil {
			return err
		}
		for _, w := range s.Warnings() {
			a.printNote("warning: %s", sanitizeLines(w))
		}
		return s.Show(a.stdout)
	}
	cmd.AddCommand(check, show)
	return cmd
}

// version is set at link time for a release; otherwise the build tells its own.
var version = ""

// buildVersion is what the binary knows of its making.
func buildVersion() (release, commit string) {
	release, commit = version, "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return versionOrDev(release), commit
	}
	if release == "" && info.Main.Version != "(devel)" {
		release = info.Main.Version
	}
	modified := ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				modified = ", modified"
			}
		}
	}
	return versionOrDev(release), commit + modified
}

func versionOrDev(release string) string {
	if release == "" {
		return "dev"
	}
	return release
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Version, commit and Go version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			release, commit := buildVersion()
			fmt.Fprintf(a.stdout, "holdd %s\ncommit %s\n%s %s/%s\n", release, commit,
				runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}
