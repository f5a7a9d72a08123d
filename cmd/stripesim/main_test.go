package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// outputWatcher is an output that a test can watch.
type outputWatcher struct {
	mu     sync.Mutex
	buffer bytes.Buffer
	writes chan string
}

func (s *outputWatcher) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buffer.Write(p)
	select {
	case s.writes <- string(p):
	default:
	}
	return len(p), nil
}

func (s *outputWatcher) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buffer.String()
}

func TestServe(t *testing.T) {
	out := &outputWatcher{writes: make(chan string, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"--listen", "127.0.0.1:0", "--seed", "7"},
			nil, out, io.Discard)
	}()
	var banner string
	select {
	case banner = <-out.writes:
	case err := <-ended:
		t.Fatal(err)
	}
	if !strings.Contains(banner, "SIMULATOR") {
		t.Errorf("the banner is %q", banner)
	}
	base := regexp.MustCompile(`http://[0-9.:]+`).FindString(banner)
	call := func(method, path, body string) string {
		t.Helper()
		r, _ := http.NewRequest(method, base+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer sk_test_1")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return string(b)
	}
	if got := call("POST", "/v1/payment_intents?amount=1000&currency=eur&"+
		"payment_method_types[]=card", ""); !strings.Contains(
		got, "payment_method_types_no_longer_supported") {
		t.Errorf("as a new account: %s", got)
	}
	id := regexp.MustCompile(`pi_\w+`).FindString(call("POST", "/_sim/holds", `{"amount":1000}`))
	if got := call("POST", "/v1/payment_intents/"+id+"/capture", ""); !strings.Contains(
		got, `"status":"succeeded"`) {
		t.Error(got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(),
		"authorized 1000 = captured 1000 + released 0 + expired 0 + held 0") {
		t.Errorf("the end says %q", out)
	}
}

func TestRun_InvalidUsage(t *testing.T) {
	live := "sk_" + "live_" + strings.Repeat("1", 10)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("\nwhsec_1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		args, env []string
		want      string
	}{
		{env: []string{"STRIPE_API_KEY=" + live}, want: "STRIPE_API_KEY holds a LIVE"},
		{args: []string{"--account=" + live}, want: "LIVE"},
		{args: []string{"--account", live}, want: "LIVE"},
		{args: []string{"--colour"}, want: "colour"},
		{args: []string{"now"}, want: `unexpected argument "now"`},
		{args: []string{"--speed", "0"}, want: "--speed"},
		{args: []string{"--api-version", "basil"}, want: `"basil"`},
		{args: []string{"--webhook-api-version", "2025"}, want: `"2025"`},
		{args: []string{"--webhook-url", "http://127.0.0.1:1/"}, want: webhookSecretsEnv},
		{args: []string{"--webhook-secret-file", file + "x"}, want: "--webhook-secret-file"},
	} {
		err := run(t.Context(), append([]string{"--listen", "127.0.0.1:0"}, row.args...),
			row.env, io.Discard, io.Discard)
		var usage usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), row.want) ||
			strings.Contains(err.Error(), live) {
			t.Errorf("%v %v: %v, want %q", row.args, len(row.env), err, row.want)
		}
	}
	var out, errs bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, nil, &out, io.Discard); !errors.Is(
		err, flag.ErrHelp) || !strings.Contains(out.String(), "/_sim/ledger") {
		t.Errorf("%v %s", err, out.String())
	}
	out.Reset()
	if err := run(t.Context(), []string{"--lisen", ":0"}, nil, &out, &errs); err == nil ||
		out.Len()+errs.Len() > 0 {
		t.Errorf("an unknown flag: %v, and the help: %s%s", err, out.String(), errs.String())
	}
	if err := run(t.Context(), []string{"--version"}, nil, &out, io.Discard); err != nil ||
		!strings.Contains(out.String(), "from 2023-10-16 to ") {
		t.Errorf("%v %s", err, out.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, []string{"--listen", "127.0.0.1:0", "--webhook-url", "http://127.0.0.1:1/",
		"--webhook-secret-file", file}, nil, io.Discard, io.Discard); err != nil {
		t.Error(err)
	}
	if err := run(ctx, []string{"--listen", "256.0.0.1:0"}, nil, io.Discard,
		io.Discard); err == nil || errors.As(err, new(usageError)) {
		t.Error(err)
	}
}
