package check

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// releaseSettings is the part of .goreleaser.yaml that is tested.
type releaseSettings struct {
	Builds []struct {
		Main    string
		Env     []string
		Goos    []string
		Goarch  []string
		Flags   []string
		Ldflags []string
	}
	Nfpms []map[string]any
}

func readReleaseSettings(t *testing.T) (s releaseSettings) {
	t.Helper()
	if err := yaml.Unmarshal(readFile(t, repoRoot, ".goreleaser.yaml"), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Builds) != 1 || len(s.Nfpms) != 1 {
		t.Fatalf("%d builds, %d packages", len(s.Builds), len(s.Nfpms))
	}
	return s
}

const releaseVersion = "1.2.3"

// buildRelease builds as goreleaser does, and returns the path of the binary.
func buildRelease(t *testing.T, dir, goos, goarch string, env ...string) string {
	t.Helper()
	b := readReleaseSettings(t).Builds[0]
	out := filepath.Join(t.TempDir(), "holdd")
	args := append(append([]string{"build", "-buildvcs=false", "-o", out}, b.Flags...), "-ldflags",
		strings.ReplaceAll(b.Ldflags[0], "{{ .Version }}", releaseVersion), b.Main)
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(append(append(os.Environ(), b.Env...), "GOOS="+goos, "GOARCH="+goarch), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, text)
	}
	return out
}

// Two builds of the same sources in different directories, without a common
// cache, are equal to the byte.
func TestRelease_IsReproducible(t *testing.T) {
	first := buildRelease(t, repoRoot, runtime.GOOS, runtime.GOARCH)
	second := buildRelease(t, buildContext(t), runtime.GOOS, runtime.GOARCH, "GOCACHE="+t.TempDir())
	a, b := sha256.Sum256(readFile(t, first)), sha256.Sum256(readFile(t, second))
	if a != b {
		t.Errorf("two builds differ: %x and %x", a, b)
	}
	out, err := exec.Command(first, "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "holdd v"+releaseVersion+"\n") {
		t.Errorf("holdd version: %v %s", err, out)
	}
}

// The packages have the binary, the unit, a user, and settings that an upgrade
// keeps.
func TestRelease_Packages(t *testing.T) {
	nfpm, dpkg := requireTool(t, "nfpm"), requireTool(t, "dpkg-deb")
	settings := readReleaseSettings(t).Nfpms[0]
	binary := filepath.Join(binDir, "holdd")
	settings["name"], settings["version"], settings["arch"] = settings["package_name"], releaseVersion, "amd64"
	contents, _ := settings["contents"].([]any)
	// goreleaser adds the binary by itself.
	settings["contents"] = append(contents, map[string]any{"src": binary,
		"dst": fmt.Sprint(settings["bindir"], "/holdd"), "file_info": map[string]any{"mode": 0o755}})
	for _, key := range []string{"package_name", "file_name_template", "formats", "bindir", "mtime"} {
		delete(settings, key) // goreleaser's
	}
	text, err := yaml.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, filepath.Join(t.TempDir(), "nfpm.yaml"), string(text))
	dir := t.TempDir()
	pack := func(format string) string {
		t.Helper()
		target := filepath.Join(dir, "holdd."+format)
		cmd := exec.Command(nfpm, "package", "--config", file, "--packager", format, "--target", target)
		cmd.Dir = repoRoot
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("nfpm: %v\n%s", err, out)
		}
		return target
	}
	deb := pack("deb")
	show := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(dpkg, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("dpkg-deb %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	list := show("-c", deb)
	for _, path := range append(slices.Clone(packageFiles), "/usr/share/zsh/vendor-completions/_holdd") {
		if !strings.Contains(list, " ."+path+"\n") {
			t.Errorf("the package has no %s:\n%s", path, list)
		}
	}
	root := filepath.Join(dir, "root")
	show("-R", deb, root)
	if kept := string(readFile(t, root, "DEBIAN/conffiles")); strings.TrimSpace(kept) != "/etc/holdd/holdd.yaml" {
		t.Errorf("an upgrade keeps %q", kept)
	}
	if script := string(readFile(t, root, "DEBIAN/preinst")); !strings.Contains(script, "useradd --system") {
		t.Errorf("it makes no user:\n%s", script)
	}
	for _, script := range []string{"preinst", "postinst"} {
		if out, err := exec.Command("sh", "-n", filepath.Join(root, "DEBIAN", script)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s", script, err, out)
		}
	}
	if out, err := exec.Command(filepath.Join(root, "usr/bin/holdd"), "config", "check", "--config",
		filepath.Join(root, "etc/holdd/holdd.yaml")).CombinedOutput(); err == nil || !strings.Contains(string(out), "stripe_api_key") {
		t.Errorf("the settings of the package lack more than the key: %v\n%s", err, out)
	}
	rpm := readFile(t, pack("rpm"))
	if !bytes.HasPrefix(rpm, []byte{0xed, 0xab, 0xee, 0xdb}) || !bytes.Contains(rpm, []byte("holdd.yaml")) ||
		!bytes.Contains(rpm, []byte("package.conf")) || !bytes.Contains(rpm, []byte("useradd --system")) {
		t.Error("the .rpm has no settings, no unit or no user")
	}
}

// The image of a release has the binary of its architecture, the certificate authorities and nothing else.
func TestRelease_Image(t *testing.T) {
	// A build for another architecture would take minutes, so the binaries differ by a word.
	binary := string(readFile(t, binDir, "holdd"))
	checkImages(t, map[string]string{"amd64": binary + "amd64", "arm64": binary + "arm64"})
}

// checkImages builds the image of a release with each binary, by architecture, as goreleaser does, without Docker.
func checkImages(t *testing.T, binaries map[string]string) {
	t.Helper()
	buildah := requireTool(t, "buildah")
	context, store := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(context, "ca-certificates.crt"), "authorities")
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(buildah, append([]string{"--storage-driver", "vfs", "--root", filepath.Join(store, "root"),
			"--runroot", filepath.Join(store, "run")}, args...)...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("buildah %v: %v\n%s", args, err, errs.Bytes())
		}
		return strings.TrimSpace(string(out))
	}
	for arch, want := range binaries {
		platform := "linux/" + arch
		target := filepath.Join(context, platform, "holdd")
		writeFile(t, target, want)
		if err := os.Chmod(target, 0o755); err != nil {
			t.Fatal(err)
		}
		run("build", "--isolation", "chroot", "--platform", platform, "--build-arg", "TARGETPLATFORM="+platform, "-t", "holdd:"+arch,
			"-f", filepath.Join(deployDir, "release/Dockerfile"), context)
		root := run("mount", run("from", "--pull-never", "--arch", arch, "localhost/holdd:"+arch))
		if got := listFiles(t, root); !slices.Equal(got, []string{"etc/ssl/certs/ca-certificates.crt", "holdd"}) {
			t.Errorf("the image has %v", got)
		}
		if string(readFile(t, root, "holdd")) != want {
			t.Errorf("the image of %s has another binary", platform)
		}
		config := run("inspect", "--type", "image", "--format", "{{.OCIv1.Architecture}} {{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}}", "localhost/holdd:"+arch)
		if config != arch+" 65532:65532 [/holdd] [serve]" {
			t.Errorf("the image of %s: %s", platform, config)
		}
	}
}
