package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"holdd": main, "terminal": terminalMain})
}

const operateToken = "operate-0123456789abcdef0123456789"

// TestScripts runs the command line, each command in a process of its own,
// against the API. The scripts document the command line.
//
// The command "api" starts an API with a fake worker and sets HOLDD_URL: "api
// live" is in live mode, "api tokens" requires a token (the file token has
// one), "api unavailable" has no store, "api unix" listens on a socket.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: false,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			// A race test otherwise exits a second late.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			// Files with times relative to now.
			for name, text := range map[string]string{
				"local.ndjson": `{"payment_intent": "pi_local0001", "capture_at": "` + time.Now().Add(48*time.Hour).Format("2006-01-02T15:04") + `"}`,
				"due.ndjson": `{"payment_intent": "pi_due00001"}` + "\n" +
					`{"payment_intent": "pi_due00002", "cancel_at": "` + time.Now().UTC().Format(time.RFC3339) + `"}`,
			} {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), []byte(text+"\n"), 0o600); err != nil {
					return err
				}
			}
			soon := time.Now().Add(50 * time.Minute).UTC().Format(time.RFC3339)
			env.Setenv("in50m", soon)
			near := `{"payment_intent": "pi_near0001"}` + "\n"
			for _, id := range []string{"pi_near0002", "pi_near0003"} {
				near += `{"payment_intent": "` + id + `", "amount": 500, "currency": "eur", "expires_at": "` + soon + `"}` + "\n"
			}
			if err := os.WriteFile(filepath.Join(env.WorkDir, "near.ndjson"), []byte(near), 0o600); err != nil {
				return err
			}
			in2d := time.Now().Add(48*time.Hour + time.Minute).UTC().Format(time.RFC3339)
			now := time.Now().UTC().Format(time.RFC3339)
			decided := `{"payment_intent": "pi_dry00001", "reference": "BK-1", "capture_at": "` + in2d + `"}
{"payment_intent": "pi_dry00001", "reference": "BK-2"}
{"payment_intent": "pi_reject001", "capture_amount": 450001}
{"payment_intent": "pi_orphan001", "cancel_at": "` + now + `"}
{"payment_intent": "pi_dry00013", "reference": "BK-13", "capture_at": "` + now + `", "amount": 5000, "currency": "eur"}
`
			if err := os.WriteFile(filepath.Join(env.WorkDir, "decided.ndjson"), []byte(decided), 0o600); err != nil {
				return err
			}
			env.Setenv("ago3h", time.Now().Add(-3*time.Hour).UTC().Format(time.RFC3339))
			env.Setenv("ago5m", time.Now().Add(-5*time.Minute).UTC().Format(time.RFC3339))
			env.Setenv("in2d", in2d)
			env.Setenv("in2d30m",
				time.Now().Add(48*time.Hour+31*time.Minute).UTC().Format(time.RFC3339))
			env.Setenv("in5d", time.Now().Add(120*time.Hour+time.Minute).UTC().Format(time.RFC3339))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"api":  startAPI,
			"exit": expectExit,
		},
	})
}

func startAPI(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: api [live] [tokens] [unavailable] [unix] [nosinks]")
	}
	store := newFakeWorker()
	store.unavailable = slices.Contains(args, "unavailable")
	deliveries := newFakeDeliveries(store.unavailable)
	deliveries.noSinks = slices.Contains(args, "nosinks")
	o := api.Options{Holds: holdsOf(store),
		Reconciler: &fakeReconciler{unavailable: store.unavailable},
		Deliveries: deliveries,
		Repairer:   fakeRepairer{}, Eraser: fakeEraser{store},
		Rules: hold.DecisionRules{ExpiryMargin: time.Hour}, Livemode: slices.Contains(args,
			"live"), Version: "test"}
	if slices.Contains(args, "tokens") {
		tokens, err := api.ParseTokens(strings.NewReader("desk operate " + operateToken + "\nboard read read-0123456789abcdef0123456789\n"))
		ts.Check(err)
		o.Tokens = tokens
		ts.Check(os.WriteFile(ts.MkAbs("token"), []byte(operateToken+"\n"), 0o600))
		ts.Check(os.WriteFile(ts.MkAbs("readtoken"), []byte("read-0123456789abcdef0123456789\n"), 0o600))
	}
	handler, err := api.New(o)
	ts.Check(err)
	network, address := "tcp", "127.0.0.1:0"
	if slices.Contains(args, "unix") {
		dir, err := os.MkdirTemp("", "holdd") // a socket's path is short
		ts.Check(err)
		ts.Defer(func() { _ = os.RemoveAll(dir) })
		network, address = "unix", filepath.Join(dir, "s")
	}
	l, err := net.Listen(network, address)
	ts.Check(err)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	ts.Defer(func() { _ = server.Close() })
	if network == "unix" {
		ts.Setenv("HOLDD_URL", "unix://"+address)
	} else {
		ts.Setenv("HOLDD_URL", "http://"+l.Addr().String())
	}
}

// expectExit runs a command and checks its exit code: "exit 3 holdd show
// pi_absent1".
func expectExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE COMMAND…")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}
