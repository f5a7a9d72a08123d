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

// versionInfo is the output of holdd version --json.
type versionInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func newVersionCommand(out *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "version", Short: "Show version, commit and Go version", Args: cobra.NoArgs,
		Example: `  holdd version
  holdd version --json | jq -r .version`,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(*cobra.Command, []string) error {
		release, commit := buildVersion()
		v := versionInfo{release, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH}
		if asJSON {
			return out.printJSONLine(v)
		}
		fmt.Fprintf(out.stdout, "holdd %s\ncommit %s\n%s %s/%s\n", v.Version, v.Commit, v.Go,
			v.OS, v.Arch)
		return nil
	}
	return cmd
}
