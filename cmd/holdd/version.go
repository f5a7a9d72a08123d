package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set at link time for a release.
var version = ""

// buildVersion returns the release and the commit of this binary.
func buildVersion() (release, commit string) {
	release, commit = version, "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return cmp.Or(release, "dev"), commit
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
	return cmp.Or(release, "dev"), commit + modified
}

func newVersionCommand(out *console) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show version, commit and Go version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			release, commit := buildVersion()
			fmt.Fprintf(out.stdout, "holdd %s\ncommit %s\n%s %s/%s\n", release, commit,
				runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}
