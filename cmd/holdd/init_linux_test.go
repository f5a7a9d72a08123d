package main

import (
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/creack/pty"
	"github.com/holdd/holdd/worker/stripesim"
)

// dialog answers questions on a terminal.
type dialog struct {
	mu     sync.Mutex
	screen strings.Builder
	rest   []question
}

// question is a text on the screen and what is typed then.
type question struct {
	shown, typed string
	secret       bool // typed once the terminal does not show it
}

// run reads the screen and types the answer to each question once it is shown.
func (d *dialog) run(master *os.File) {
	buffer := make([]byte, 4096)
	for {
		n, err := master.Read(buffer)
		if err != nil { // EIO, once the other side is closed
			return
		}
		d.mu.Lock()
		d.screen.Write(buffer[:n])
		if len(d.rest) > 0 && strings.Contains(d.screen.String(), d.rest[0].shown) {
			for d.rest[0].secret && showsTyped(master) {
				time.Sleep(time.Millisecond)
			}
			_, _ = io.WriteString(master, d.rest[0].typed+"\n")
			d.rest = d.rest[1:]
		}
		d.mu.Unlock()
	}
}

// showsTyped reports whether a terminal shows what is typed.
func showsTyped(terminal *os.File) bool {
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	return err == nil && state.Lflag&unix.ECHO != 0
}

// TestInit_AsksThreeQuestions answers them on a terminal.
func TestInit_AsksThreeQuestions(t *testing.T) {
	sim := stripesim.New(stripesim.Options{Seed: 1})
	server := httptest.NewServer(sim.Handler())
	defer server.Close()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	d := &dialog{rest: []question{{"Stripe key", doctorAPIKey, true},
		{"Redis", "redis://127.0.0.1:1/5", false}, {"Public URL", "https://hotel.example", false}}}
	ended := make(chan struct{})
	go func() {
		d.run(master)
		close(ended)
	}()
	path := filepath.Join(t.TempDir(), "holdd.yaml")
	env := []string{"STRIPE_API_BASE=" + server.URL, "NO_COLOR=1", "TERM=dumb"}
	code := Run(t.Context(), []string{"init", "--config", path}, env, tty, tty, tty)
	tty.Close()
	<-ended
	master.Close()
	screen := d.screen.String()
	if code != exitFailed || len(d.rest) > 0 || // no Redis is there
		!strings.Contains(screen, "Created the webhook endpoint https://hotel.example/webhooks/stripe") {
		t.Fatalf("exit code %d, %d questions not asked:\n%s", code, len(d.rest), screen)
	}
	if strings.Contains(screen, doctorAPIKey) || strings.Contains(screen, "whsec_") {
		t.Errorf("a secret is on the screen:\n%s", screen)
	}
	key := filepath.Join(filepath.Dir(path), "holdd.stripe_api_key")
	b, err := os.ReadFile(key)
	info, statErr := os.Stat(key)
	if err != nil || statErr != nil || string(b) != doctorAPIKey+"\n" || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", err, info)
	}
	config, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(config), "stripe_api_key_file: "+key+"\n") ||
		!strings.Contains(string(config), "redis_url: redis://127.0.0.1:1/5\n") ||
		strings.Contains(string(config), doctorAPIKey) {
		t.Errorf("%v\n%s", err, config)
	}
}

// TestInit_EventsAreDocumented compares the events with those that requests.md
// lists.
func TestInit_EventsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../deploy/docs/requests.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "\n### Webhooks\n")
	_, text, _ = strings.Cut(text, "```\n")
	list, _, _ := strings.Cut(text, "```")
	if got := strings.Fields(list); !sameEvents(got, handledWebhookEvents) {
		t.Errorf("requests.md lists %v, holdd init uses %v", got, handledWebhookEvents)
	}
}
