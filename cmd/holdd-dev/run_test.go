package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/holdd/holdd/worker/stripesim"
)

// outputWatcher is a standard output that passes each line to onLine.
type outputWatcher struct {
	mu     sync.Mutex
	all    bytes.Buffer
	seen   int
	onLine func(line string)
}

func (w *outputWatcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.all.Write(p)
	var lines []string
	for {
		rest := w.all.Bytes()[w.seen:]
		n := bytes.IndexByte(rest, '\n')
		if n < 0 {
			break
		}
		lines = append(lines, string(rest[:n]))
		w.seen += n + 1
	}
	w.mu.Unlock()
	if w.onLine != nil {
		for _, l := range lines {
			w.onLine(l)
		}
	}
	return len(p), nil
}

func (w *outputWatcher) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}

func TestRun_EachStayPrintsItsOutcome(t *testing.T) {
	var out outputWatcher
	var errs bytes.Buffer
	args := []string{"--for", "9s", "--bookings-per-minute", "400", "--day", "2s"}
	if code := Run(t.Context(), args, &out, &errs); code != exitOK || errs.Len() > 0 {
		t.Fatalf("exit code %d, standard error %q, output:\n%s", code, errs.String(), out.String())
	}
	text := out.String()
	for _, pattern := range []string{
		`booked +capture at checkout, \d\d:\d\d:\d\d; the authorization ends at \d\d:\d\d:\d\d`,
		`captured +at checkout, as scheduled`,
		`declined +Your card has insufficient funds`,
		`3-D Sec\. +requires_action`,
		`3-D Sec\. +passed`,
		`captured +as requested; Stripe releases the rest`,
		`warning +the authorization ends in [\d.]+s; on_expiry is capture`,
		`captured +before the authorization ended, as on_expiry says`,
		`warning +the authorization ends in [\d.]+s; on_failure is capture`,
		`captured +before the authorization ended, as on_failure says`,
		`released +nothing was captured`,
		`retrying +no reply from Stripe`,
		`booked +a long stay, capture at checkout`,
		`renewed +a new authorization holds the amount until`,
		`cardholder +the bank wants the cardholder before .*; otherwise on_failure is capture`,
		`increment +one more night`,
		`raised +the bank holds the new total`,
		`No PaymentIntent was captured twice`,
	} {
		if !regexp.MustCompile(pattern).MatchString(text) {
			t.Errorf("no line matches %q", pattern)
		}
	}
	for _, pattern := range []string{`[{]"`, "\x1b", `Redis hides`, `failed`, `attention`,
		`captured twice:`, `_secret_`} {
		if m := regexp.MustCompile(pattern).FindString(text); m != "" {
			t.Errorf("the output has %q", m)
		}
	}
	checkSummarySums(t, text)
	checkLostReplyCapturedOnce(t, text)
	if t.Failed() {
		t.Log(text)
	}
}

// checkSummarySums checks that authorized = captured + released + expired +
// held for each currency.
func checkSummarySums(t *testing.T, text string) {
	t.Helper()
	_, text, found := strings.Cut(text, "\nStripe's ledger after ")
	if !found {
		t.Fatal("no summary")
	}
	rows := regexp.MustCompile(
		`(?m)^  (authorized|captured|released|expired|still held) +([\d.]+) [A-Z]{3}$`,
	).FindAllStringSubmatch(text, -1)
	if len(rows) == 0 || len(rows)%5 != 0 {
		t.Fatalf("%d rows of sums in %s", len(rows), text)
	}
	for c := range slices.Chunk(rows, 5) {
		var n [5]int64
		for i, row := range c {
			var err error
			if n[i], err = strconv.ParseInt(strings.ReplaceAll(row[2], ".", ""), 10,
				64); err != nil {
				t.Fatal(err)
			}
		}
		if n[0] == 0 || n[0] != n[1]+n[2]+n[3]+n[4] {
			t.Errorf("the sums do not add up: %q", c)
		}
	}
}

// checkLostReplyCapturedOnce checks that the booking whose capture reply was
// lost has one line that says captured.
func checkLostReplyCapturedOnce(t *testing.T, text string) {
	t.Helper()
	m := regexp.MustCompile(`(HB-\d+) .* retrying `).FindStringSubmatch(text)
	if m == nil {
		t.Fatal("no capture was retried")
	}
	lines := regexp.MustCompile(m[1]+` .* captured `).FindAllString(text, -1)
	if len(lines) != 1 {
		t.Errorf("%s was captured %d times: %q", m[1], len(lines), lines)
	}
}

func TestRun_SummaryOnInterrupt(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	simURL := regexp.MustCompile(`http://\S+/_sim/`)
	out := &outputWatcher{onLine: func(line string) {
		if url := simURL.FindString(line); url != "" {
			if err := placeHoldAtSimulator(url); err != nil {
				t.Error(err)
			}
		}
		if strings.Contains(line, "  booked  ") {
			interrupt() // the capture is days away
		}
	}}
	var errs bytes.Buffer
	args := []string{"--day", "1m", "--bookings-per-minute", "600"}
	if code := Run(ctx, args, out, &errs); code != exitOK || errs.Len() > 0 {
		t.Fatalf("exit code %d, standard error %q, output:\n%s", code, errs.String(), out.String())
	}
	checkSummarySums(t, out.String())
	for _, want := range []string{"no more bookings", "still held       42.00 USD",
		"No PaymentIntent was captured twice"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, out.String())
		}
	}
}

// placeHoldAtSimulator places a hold with the simulator's control endpoint, as
// a user with curl does.
func placeHoldAtSimulator(url string) error {
	resp, err := http.Post(url+"holds", "application/json",
		strings.NewReader(`{"amount":4200,"currency":"usd"}`))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("place a hold: %s: %s", resp.Status, body)
	}
	return nil
}

func TestFindDoubleCaptures(t *testing.T) {
	effect := func(intent string, kind stripesim.EffectKind) stripesim.Effect {
		return stripesim.Effect{Intent: intent, Kind: kind}
	}
	ledger := []stripesim.Effect{
		effect("pi_once", stripesim.EffectAuthorized),
		effect("pi_twice", stripesim.EffectAuthorized),
		effect("pi_once", stripesim.EffectCaptured), effect("pi_once", stripesim.EffectReleased),
		effect("pi_twice", stripesim.EffectCaptured), effect("pi_twice", stripesim.EffectCaptured),
		effect("pi_twice", stripesim.EffectCaptured), effect("pi_none", stripesim.EffectCanceled),
	}
	if got := findDoubleCaptures(ledger); !slices.Equal(got, []string{"pi_twice"}) {
		t.Errorf("found %q", got)
	}
}

func TestCallbackReceiver(t *testing.T) {
	hook, err := standardwebhooks.NewWebhook(callbackSecret)
	if err != nil {
		t.Fatal(err)
	}
	const body = `{"id":"evt_1","type":"hold.canceled","data":{"hold":{"reference":"HB-1"}}}`
	now := time.Now()
	signature, err := hook.Sign("evt_1", now, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	receiver := &callbackReceiver{hook: hook, out: newPrinter(&out)}
	for _, c := range []struct {
		name, signature string
		status, lines   int
	}{
		{"wrong signature", "v1,Zm9yZ2Vk", http.StatusUnauthorized, 0},
		{"first delivery", signature, http.StatusNoContent, 1},
		{"repeated delivery", signature, http.StatusNoContent, 1},
	} {
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		req.Header.Set(standardwebhooks.HeaderWebhookID, "evt_1")
		req.Header.Set(standardwebhooks.HeaderWebhookTimestamp,
			strconv.FormatInt(now.Unix(), 10))
		req.Header.Set(standardwebhooks.HeaderWebhookSignature, c.signature)
		answer := httptest.NewRecorder()
		receiver.ServeHTTP(answer, req)
		if lines := strings.Count(out.String(), "\n"); answer.Code != c.status || lines != c.lines {
			t.Errorf("%s: answered %d, printed %d lines: %q", c.name, answer.Code, lines, out.String())
		}
	}
}

func TestRun_InvalidUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--bookings-per-minute", "0"}, {"--bookings-per-minute", "601"}, {"--for", "-1s"},
		{"--for", "soon"}, {"--day", "10ms"}, {"--what"}, {"list"},
	} {
		var out, errs bytes.Buffer
		code := Run(t.Context(), args, &out, &errs)
		if code != exitUsage || out.Len() > 0 || !strings.Contains(errs.String(), "--help") ||
			strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%q: exit code %d, %q, %q", args, code, out.String(), errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := Run(t.Context(), []string{"--help"}, &out, &errs); code != exitOK ||
		errs.Len() > 0 || !strings.Contains(out.String(), "--bookings-per-minute") {
		t.Errorf("--help: exit code %d, %q, %q", code, out.String(), errs.String())
	}
}
