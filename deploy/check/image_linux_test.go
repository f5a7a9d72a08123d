package check

import (
	"encoding/pem"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// TestContainerImage does what the Dockerfile says, without Docker: what
// .dockerignore lets through is built by the same command, and the result runs
// in a root directory with exactly the files of the last stage, as its user.
// Stripe is spoken to over TLS there, so that the certificate authorities have
// to be found, and a local time is resolved, so that the time zones have to be.
func TestContainerImage(t *testing.T) {
	dockerfile := string(readFile(t, deployDir, "Dockerfile"))
	build := regexp.MustCompile(`(?s)\nRUN (?:--mount=\S+ *(?:\\\n +)?)*(CGO_ENABLED=0 .*? -o /out/holdd \./cmd/holdd)\n`).FindStringSubmatch(dockerfile)
	final := dockerfile[strings.LastIndex(dockerfile, "\nFROM "):]
	user := regexp.MustCompile(`\nUSER (\d+):(\d+)\n`).FindStringSubmatch(final)
	if build == nil || user == nil || !strings.HasPrefix(final, "\nFROM scratch\n") {
		t.Fatal("the Dockerfile isn't as this test knows it: a build command, a last stage from scratch, a user by number")
	}
	root := filepath.Join(t.TempDir(), "root")

	context := buildContext(t)
	holdd := filepath.Join(t.TempDir(), "holdd")
	cmd := exec.Command("sh", "-c", strings.Replace(build[1], "/out/holdd", holdd, 1))
	cmd.Dir = context
	cmd.Env = append(os.Environ(), "VERSION=v1.2.3", "TARGETOS=linux", "TARGETARCH=", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build[1], err, out)
	}

	sim := stripesim.New(stripesim.Options{Seed: 1})
	stripe := httptest.NewTLSServer(sim.Handler())
	t.Cleanup(stripe.Close)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stripe.Certificate().Raw})
	for _, m := range regexp.MustCompile(`\nCOPY --from=build (\S+) (\S+)`).FindAllStringSubmatch(final, -1) {
		to := filepath.Join(root, m[2])
		switch m[1] {
		case "/out/holdd":
			b := readFile(t, holdd)
			writeFile(t, to, string(b))
			if err := os.Chmod(to, 0o755); err != nil {
				t.Fatal(err)
			}
		case "/etc/ssl/certs/ca-certificates.crt":
			writeFile(t, to, string(authority))
			if err := os.Chmod(to, 0o644); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("the image gets %s, which this test doesn't know", m[1])
		}
	}
	before := listFiles(t, root)
	if want := []string{"etc/ssl/certs/ca-certificates.crt", "holdd"}; !slices.Equal(before, want) {
		t.Fatalf("the image has %v", before)
	}
	for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		// its user has to get there
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}

	redis := storetest.Start(t)
	inside := exec.Command("/holdd", "serve")
	inside.Dir = "/"
	inside.SysProcAttr = chrootProcAttr(t, root, user[1], user[2])
	url := startDaemon(t, inside, "STRIPE_API_KEY="+stripeAPIKey, "STRIPE_API_BASE="+stripe.URL, "REDIS_URL="+redis.URL())
	w := &environment{sim: sim, redis: redis, url: url}
	w.mustRunShell(t, "env -u HOLDD_TOKEN_FILE holdd schedule "+w.authorize(t)+" --reference BK-1 --capture-at now --yes")
	w.mustRunShell(t, "env -u HOLDD_TOKEN_FILE holdd schedule "+w.authorize(t)+" --reference BK-2 --time-zone Pacific/Auckland --capture-at $(TZ=Pacific/Auckland date -d '+2 days' +%Y-%m-%dT11:00)")
	storetest.WaitUntil(t, waitTimeout, "a hold is captured over TLS", func() bool {
		return slices.ContainsFunc(sim.Ledger(), func(e stripesim.Effect) bool { return e.Kind == stripesim.EffectCaptured })
	})
	if out := w.mustRunShell(t, "curl -s "+url+"/healthz"); !strings.Contains(out, "v1.2.3") {
		t.Errorf("it does not know its version: %s", out)
	}
	if after := listFiles(t, root); !slices.Equal(before, after) {
		t.Errorf("it wrote to its root: %v", after)
	}
}

// chrootProcAttr makes root the process' root directory and takes everything
// from it but the user's number. Who isn't root himself does it in a user
// namespace.
func chrootProcAttr(t *testing.T, root, uid, gid string) *syscall.SysProcAttr {
	t.Helper()
	u, err1 := strconv.Atoi(uid)
	g, err2 := strconv.Atoi(gid)
	if err1 != nil || err2 != nil || u == 0 || g == 0 {
		t.Fatalf("user %s, group %s: it has to be numbers, and not root's", uid, gid)
	}
	a := &syscall.SysProcAttr{Chroot: root, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		a.Credential = &syscall.Credential{Uid: uint32(u), Gid: uint32(g)}
		return a
	}
	a.Cloneflags = syscall.CLONE_NEWUSER
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: u, HostID: os.Getuid(), Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: g, HostID: os.Getgid(), Size: 1}}
	return a
}

// buildContext is what Docker would send to be built: the repository without
// what .dockerignore keeps out.
func buildContext(t *testing.T) string {
	t.Helper()
	patterns, err := ignorefile.ReadAll(strings.NewReader(string(readFile(t, repoRoot, ".dockerignore"))))
	if err != nil {
		t.Fatal(err)
	}
	ignore, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	err = filepath.WalkDir(repoRoot, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(repoRoot, path)
		if err != nil || rel == "." {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" || d.Name() == ".build" || rel == "deploy" {
				return fs.SkipDir
			}
			return nil
		}
		out, err := ignore.MatchesOrParentMatches(rel)
		if err != nil || out || !d.Type().IsRegular() {
			return err
		}
		if strings.Contains(rel, "testdata") || strings.HasSuffix(rel, "_test.go") {
			t.Errorf("%s is sent to be built", rel)
		}
		writeFile(t, filepath.Join(dir, rel), string(readFile(t, path)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// listFiles lists all files below a directory.
func listFiles(t *testing.T, root string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		all = append(all, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
