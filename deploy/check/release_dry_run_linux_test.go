package check

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"debug/macho"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rpmutils "github.com/sassoftware/go-rpmutils"
)

// goreleaser takes minutes to build, so `make deploy-check` does without it.
var dryRun = flag.Bool("release", false, "run goreleaser, as `make release-check` does")

// runGoreleaser makes all files of a release of the newest commit but the image,
// and returns those that it would publish, by name. It publishes nothing. It runs
// in a clone: without a remote, goreleaser takes the time of the build instead of
// the commit's.
func runGoreleaser(t *testing.T) map[string][]byte {
	t.Helper()
	clone := t.TempDir()
	if out, err := exec.Command("git", "clone", "-q", repoRoot, clone).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v\n%s", err, out)
	}
	cmd := exec.Command(requireTool(t, "goreleaser"), "release", "--snapshot", "--clean",
		"--skip=docker")
	cmd.Dir = clone
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("goreleaser: %v\n%s", err, out)
	}
	dist := filepath.Join(clone, "dist")
	files := map[string][]byte{}
	for line := range strings.Lines(string(readFile(t, dist, "SHA256SUMS"))) {
		name := strings.Fields(line)[1]
		files[name] = readFile(t, dist, name)
	}
	files["SHA256SUMS"] = readFile(t, dist, "SHA256SUMS")
	return files
}

// The files of a release are complete, are equal in two runs, and have what
// release.md says.
func TestRelease_DryRun(t *testing.T) {
	if !*dryRun {
		return
	}
	requireTool(t, "cyclonedx-gomod")
	first, second := runGoreleaser(t), runGoreleaser(t)
	names := slices.Sorted(maps.Keys(first))
	for _, name := range names {
		if !bytes.Equal(first[name], second[name]) {
			t.Errorf("two runs differ in %s", name)
		}
	}
	version := ""
	for _, name := range names {
		if v, ok := strings.CutSuffix(name, "_linux_amd64.tar.gz"); ok {
			version = strings.TrimPrefix(v, "holdd_")
		}
	}
	want, images := []string{"SHA256SUMS"}, map[string]string{}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, system := range []string{"linux", "darwin"} {
			name := "holdd_" + version + "_" + system + "_" + arch
			binary := checkArchive(t, first[name+".tar.gz"], system, arch)
			if system == "linux" {
				images[arch] = string(binary)
			}
			checkSBOM(t, first[name+".cdx.json"])
			want = append(want, name+".tar.gz", name+".cdx.json")
		}
		deb, rpm := "holdd_"+version+"_"+arch+".deb", "holdd_"+version+"_"+arch+".rpm"
		checkDeb(t, first[deb])
		checkRPM(t, first[rpm], map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch])
		want = append(want, deb, rpm)
	}
	checkImages(t, images)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("a release has %v\nwant %v", names, want)
	}
}

// checkArchive checks the files of an archive and for what its binary is built. It returns the
// binary.
func checkArchive(t *testing.T, archive []byte, system, arch string) (binary []byte) {
	t.Helper()
	unpacked, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Errorf("%s %s: %v", system, arch, err)
		return nil
	}
	var names []string
	for r := tar.NewReader(unpacked); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Name != "holdd" {
			continue
		}
		if binary, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		if got := describeBinary(binary); got != system+" "+arch || h.Mode != 0o755 {
			t.Errorf("the binary for %s %s is for %s and has mode %o", system, arch, got, h.Mode)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"CHANGELOG.md", "README.md", "holdd", "holdd.example.yaml",
		"holdd.service"}) {
		t.Errorf("the archive for %s %s has %v", system, arch, names)
	}
	return binary
}

// describeBinary returns the system and the architecture of a program.
func describeBinary(b []byte) string {
	if f, err := elf.NewFile(bytes.NewReader(b)); err == nil {
		return "linux " + map[elf.Machine]string{elf.EM_X86_64: "amd64",
			elf.EM_AARCH64: "arm64"}[f.Machine]
	}
	if f, err := macho.NewFile(bytes.NewReader(b)); err == nil {
		return "darwin " + map[macho.Cpu]string{macho.CpuAmd64: "amd64",
			macho.CpuArm64: "arm64"}[f.Cpu]
	}
	return "another system"
}

// checkSBOM checks that an SBOM names the libraries that are in every holdd.
func checkSBOM(t *testing.T, text []byte) {
	t.Helper()
	var sbom struct {
		BOMFormat  string
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(text, &sbom); err != nil || sbom.BOMFormat != "CycloneDX" {
		t.Errorf("an SBOM: %v, %q", err, sbom.BOMFormat)
	}
	for _, name := range []string{"github.com/stripe/stripe-go/v76", "github.com/redis/go-redis/v9",
		"go.uber.org/zap"} {
		if !slices.ContainsFunc(sbom.Components, func(c struct{ Name, Version string }) bool {
			return c.Name == name && c.Version != ""
		}) {
			t.Errorf("the SBOM does not name %s", name)
		}
	}
}

// packageFiles are the files of the packages, apart from those of zsh and the other man pages.
var packageFiles = []string{"/etc/holdd/holdd.yaml", "/usr/bin/holdd",
	"/usr/lib/systemd/system/holdd.service", "/usr/lib/systemd/system/holdd.service.d/package.conf",
	"/usr/share/bash-completion/completions/holdd", "/usr/share/fish/vendor_completions.d/holdd.fish",
	"/usr/share/man/man1/holdd-capture.1", "/usr/share/man/man1/holdd.1"}

func checkDeb(t *testing.T, deb []byte) {
	t.Helper()
	file := writeFile(t, filepath.Join(t.TempDir(), "holdd.deb"), string(deb))
	out, err := exec.Command(requireTool(t, "dpkg-deb"), "-c", file).CombinedOutput()
	if err != nil {
		t.Errorf("dpkg-deb: %v\n%s", err, out)
	}
	for _, name := range packageFiles {
		if !strings.Contains(string(out), " ."+name+"\n") {
			t.Errorf("the .deb has no %s:\n%s", name, out)
		}
	}
}

// checkRPM checks the files of a package and that an upgrade keeps the settings.
func checkRPM(t *testing.T, text []byte, arch string) {
	t.Helper()
	rpm, err := rpmutils.ReadRpm(bytes.NewReader(text))
	if err != nil {
		t.Error(err)
		return
	}
	files, err := rpm.Header.GetFiles()
	if err != nil {
		t.Error(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
		const keptConfig = rpmutils.RPMFILE_CONFIG | rpmutils.RPMFILE_NOREPLACE
		if kept := f.Flags()&keptConfig == keptConfig; kept != strings.HasPrefix(f.Name(), "/etc/") {
			t.Errorf("an upgrade keeps %s: %v", f.Name(), kept)
		}
	}
	for _, name := range append(slices.Clone(packageFiles), "/usr/share/zsh/site-functions/_holdd") {
		if !slices.Contains(names, name) {
			t.Errorf("the .rpm has no %s: %v", name, names)
		}
	}
	for _, name := range names {
		if !slices.Contains(packageFiles, name) && !strings.HasPrefix(name, "/usr/share/man/man1/holdd-") &&
			name != "/usr/share/zsh/site-functions/_holdd" {
			t.Errorf("the .rpm has %s", name)
		}
	}
	if got, err := rpm.Header.GetString(rpmutils.ARCH); err != nil || got != arch {
		t.Errorf("the .rpm is for %q, %v, want %s", got, err, arch)
	}
	if script, err := rpm.Header.GetString(rpmutils.PREIN); err != nil ||
		!strings.Contains(script, "useradd --system") {
		t.Errorf("the .rpm makes no user: %v\n%s", err, script)
	}
}
