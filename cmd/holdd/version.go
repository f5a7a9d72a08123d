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

// readBuildVersion returns the release of this binary, its commit, and the date
// of the commit. A build has no date of its own, so that two builds are equal.
func readBuildVersion() (release, commit, date string) {
	release, commit, date = version, "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return cmp.Or(release, "dev"), commit, date
	}
	if release == "" && info.Main.Version != "(devel)" {
		release = info.Main.Version
	}
	modified := ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.time":
			date = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				modified = ", modified"
			}
		}
	}
	return cmp.Or(release, "dev"), commit + modified, date
}

// versionInfo is the output of holdd version --json.
type versionInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Date    string `json:"date"` // of the commit
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func newVersionCommand(out *terminal) *cobra.Command {
	c := &connectionFlags{out: out}
	cmd := &cobra.Command{
		Use: "version", Short: "Show version, commit, date and Go version", Args: cobra.NoArgs,
		Example: `  holdd version
  holdd version --json | jq -r .version`,
	}
	cmd.Flags().BoolVar(&c.asJSON, "json", false, "print JSON")
	c.addOutputFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		release, commit, date := readBuildVersion()
		v := versionInfo{release, commit, date, runtime.Version(), runtime.GOOS, runtime.GOARCH}
		return c.printObject(v, func(_ timeFormatter, f outputFormat) error {
			if f == formatCSV {
				return usageErrorf("", "invalid -o csv: the version is no list")
			}
			fmt.Fprintf(out.stdout, "holdd %s\ncommit %s of %s\n%s %s/%s\n", v.Version, v.Commit,
				v.Date, v.Go, v.OS, v.Arch)
			return nil
		})
	}
	return cmd
}
