package e2e_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/holdd/holdd/worker/audit"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// truth is what the ledger says, in the terms of a report.
type truth struct {
	Authorized, Captured, Released, Canceled, Expired, StillHeld map[string]hold.Sum // by currency

	ExpiredByWeek, ExpiredByBrand map[string]int
	LateByBucket, TookByBucket    []int
	Median, Longest               int64
	HeldTwice, SameAmount         int
	MostAtOnce                    int
	HeldNow                       map[string]hold.Sum
	HeldIntents                   []string // in the order of their end
}

func addTo(sums map[string]hold.Sum, currency string, amount int64) {
	s := sums[currency]
	sums[currency] = hold.Sum{Currency: currency, Count: s.Count + 1, Amount: s.Amount + amount}
}

// readLedger computes the truth about authorizations between from and until from
// the ledger alone, and from the deadlines that the simulator gave.
func (s *auditedStripe) readLedger(from, until time.Time) truth {
	t := truth{Authorized: map[string]hold.Sum{}, Captured: map[string]hold.Sum{},
		Released: map[string]hold.Sum{}, Canceled: map[string]hold.Sum{},
		Expired: map[string]hold.Sum{}, StillHeld: map[string]hold.Sum{},
		HeldNow: map[string]hold.Sum{}, ExpiredByWeek: map[string]int{},
		ExpiredByBrand: map[string]int{}, LateByBucket: make([]int, 3), TookByBucket: make([]int, 10)}
	held, authorized := map[string]int64{}, map[string]stripesim.Effect{}
	var took []int64
	for _, e := range s.sim.Ledger() {
		begun, manual := authorized[e.Intent], s.brands[e.Intent] != ""
		if !manual {
			continue
		}
		inPeriod := e.Kind == stripesim.EffectAuthorized && !e.Time.Before(from) ||
			begun.Intent != "" && !begun.Time.Before(from)
		switch e.Kind {
		case stripesim.EffectAuthorized:
			if inPeriod {
				addTo(t.Authorized, e.Currency, e.Amount)
				t.countHeldTwice(e, held, authorized)
			}
			authorized[e.Intent], held[e.Intent] = e, e.Amount
			continue
		case stripesim.EffectCaptured:
			if inPeriod {
				addTo(t.Captured, e.Currency, e.Amount)
				seconds := e.Time.Unix() - begun.Time.Unix()
				took = append(took, seconds)
				t.countCapture(s, e, seconds)
			}
			held[e.Intent] -= e.Amount
		case stripesim.EffectReleased:
			if inPeriod {
				addTo(t.Released, e.Currency, e.Amount)
			}
			held[e.Intent] -= e.Amount
		case stripesim.EffectCanceled:
			if inPeriod {
				addTo(t.Canceled, e.Currency, e.Amount)
			}
			held[e.Intent] -= e.Amount
		case stripesim.EffectExpired:
			if inPeriod {
				addTo(t.Expired, e.Currency, e.Amount)
				t.ExpiredByBrand[s.brands[e.Intent]]++
				t.ExpiredByWeek[mondayOf(e.Time)]++
			}
			held[e.Intent] -= e.Amount
		}
	}
	slices.Sort(took)
	t.Median, t.Longest = took[(len(took)-1)/2], took[len(took)-1]
	t.addHeld(s, from)
	return t
}

// countHeldTwice counts an authorization beside another of the same customer.
func (t *truth) countHeldTwice(
	e stripesim.Effect, held map[string]int64, authorized map[string]stripesim.Effect,
) {
	if e.Customer == "" || e.CustomerHolds < 2 {
		return
	}
	t.HeldTwice++
	t.MostAtOnce = max(t.MostAtOnce, e.CustomerHolds)
	for id, amount := range held {
		if b := authorized[id]; amount > 0 && b.Customer == e.Customer && b.Currency == e.Currency &&
			b.Amount == e.Amount {
			t.SameAmount++
			return
		}
	}
}

func (t *truth) countCapture(s *auditedStripe, e stripesim.Effect, seconds int64) {
	st, _ := s.sim.Intent(e.Intent)
	left := st.CaptureBefore.Unix() - e.Time.Unix()
	for i, hours := range []int64{1, 6, 24} {
		if left < hours*3600 {
			t.LateByBucket[i]++
			break
		}
	}
	bounds := []int64{1, 6, 24, 48, 72, 96, 120, 144, 168}
	i, _ := slices.BinarySearchFunc(bounds, seconds, func(hours, s int64) int {
		return cmp.Compare(hours*3600, s+1)
	})
	t.TookByBucket[i]++
}

func (t *truth) addHeld(s *auditedStripe, from time.Time) {
	all := s.sim.Intents("")
	slices.SortStableFunc(all, func(a, b stripesim.IntentState) int {
		return cmp.Compare(a.CaptureBefore.Unix(), b.CaptureBefore.Unix())
	})
	for _, st := range all {
		if st.Status != "requires_capture" {
			continue
		}
		addTo(t.HeldNow, st.Currency, st.Capturable)
		t.HeldIntents = append(t.HeldIntents, s.shownID(st))
		if !st.Created.Before(from) {
			addTo(t.StillHeld, st.Currency, st.Capturable)
		}
	}
}

// shownID returns what a report calls a payment: a charge of the Charges API has
// no PaymentIntent.
func (s *auditedStripe) shownID(st stripesim.IntentState) string {
	if s.chargesAlone[st.ID] {
		return st.Charge
	}
	return st.ID
}

// pages returns how many pages the PaymentIntents have.
func (s *auditedStripe) pages(payments int) int {
	return (payments - len(s.chargesAlone) + 99) / 100
}

func mondayOf(at time.Time) string {
	at = at.UTC()
	return at.AddDate(0, 0, -(int(at.Weekday())+6)%7).Format(time.DateOnly)
}

// truthOf is what a report says, in the same terms.
func truthOf(r *audit.Report) truth {
	sums := func(t *audit.Total) map[string]hold.Sum {
		m := map[string]hold.Sum{}
		for _, s := range t.Sums {
			m[s.Currency] = s
		}
		return m
	}
	counts := func(all []audit.DurationBucket) (n []int) {
		for _, b := range all {
			n = append(n, b.Count)
		}
		return n
	}
	t := truth{Authorized: sums(&r.Authorized), Captured: sums(&r.Captured),
		Released: sums(&r.ReleasedAtCapture), Canceled: sums(&r.Canceled),
		Expired: sums(&r.Expired.Total), StillHeld: sums(&r.StillHeld), HeldNow: sums(&r.HeldNow.Total),
		ExpiredByWeek: map[string]int{}, ExpiredByBrand: map[string]int{},
		LateByBucket: counts(r.LateCaptures.Buckets), TookByBucket: counts(r.TimeToCapture.Buckets),
		Median: r.TimeToCapture.Median, Longest: r.TimeToCapture.Longest,
		HeldTwice: r.HeldTwice.Count, SameAmount: r.HeldTwice.SameAmount,
		MostAtOnce: r.HeldTwice.MostAtOnce}
	for _, w := range r.Expired.ByWeek {
		if w.Count > 0 {
			t.ExpiredByWeek[w.Monday] = w.Count
		}
	}
	for _, b := range r.Expired.ByBrand {
		if b.Count > 0 {
			t.ExpiredByBrand[b.Brand] = b.Count
		}
	}
	for _, p := range r.HeldNow.Payments {
		t.HeldIntents = append(t.HeldIntents, p.ID)
	}
	return t
}

// checkReport compares the JSON of a report with the ledger.
func (s *auditedStripe) checkReport(tb testing.TB, what, stdout string) audit.Report {
	tb.Helper()
	var r audit.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		tb.Fatalf("%s: %v: %.300s", what, err, stdout)
	}
	got, want := reflect.ValueOf(truthOf(&r)), reflect.ValueOf(s.readLedger(r.From, r.Until))
	for i := range got.NumField() {
		if g, w := got.Field(i).Interface(), want.Field(i).Interface(); !reflect.DeepEqual(g, w) {
			tb.Errorf("%s: %s: the report says %v, the ledger %v", what, got.Type().Field(i).Name, g, w)
		}
	}
	if len(r.Expired.Payments) != r.Expired.Count || len(r.HeldTwice.Overlaps) != r.HeldTwice.Count {
		tb.Errorf("%s: it does not list every payment", what)
	}
	return r
}

// checkReadsOnly checks the requests of an audit.
func (s *auditedStripe) checkReadsOnly(tb testing.TB, what string, lists int) {
	tb.Helper()
	requests := s.takeRequests()
	for _, r := range slices.Sorted(maps.Keys(requests)) {
		if !strings.HasPrefix(r, "GET ") {
			tb.Errorf("%s sent %s", what, r)
		}
	}
	if n := requests["GET /v1/payment_intents"]; n != lists {
		tb.Errorf("%s read %d pages, want %d", what, n, lists)
	}
}

// TestAudit_EqualsTheLedger audits 5,000 payments of three years.
func TestAudit_EqualsTheLedger(t *testing.T) {
	t.Parallel()
	const n, span = 5000, 3 * 365 * 24 * time.Hour
	s := newAuditedStripe(t, n, span)
	bin := binaryPath(t, buildRelease)
	effects := len(s.sim.Ledger())
	s.sim.Keys.RestrictKey(auditKey, stripesim.ClassList, stripesim.ClassChargeList,
		stripesim.ClassBalanceTransaction)

	t.Run("everything, with a restricted key", func(t *testing.T) {
		code, stdout, stderr := runHoldd(t, bin, s.env(auditKey), "audit", "--since", "3y", "--rate",
			"25", "--json", "--html", "report.html")
		if code != 0 {
			t.Fatal(code, stderr)
		}
		r := s.checkReport(t, "3 years", stdout)
		if r.IntentsRead != n-len(s.chargesAlone) || r.Sources.ChargesAlone < n/20 || r.Expired.Count < n/10 || r.HeldTwice.Count < 100 ||
			r.LateCaptures.Count < 100 || r.HeldNow.Count < 5 || r.HeldTwice.SameAmount < 10 ||
			r.Sources.CapturesUnknown != 0 {
			t.Errorf("%d read, %d expired, %d held twice, %d of the same amount, %d late, %d held now, "+
				"%+v: too few to compare", r.IntentsRead, r.Expired.Count, r.HeldTwice.Count,
				r.HeldTwice.SameAmount, r.LateCaptures.Count, r.HeldNow.Count, r.Sources)
		}
		s.checkReadsOnly(t, "a restricted key", s.pages(n))
	})
	t.Run("a quarter, with a key that may write", func(t *testing.T) {
		code, stdout, stderr := runHoldd(t, bin, s.env(apiKey), "audit", "--rate", "25", "--json")
		if code != 0 {
			t.Fatal(code, stderr)
		}
		r := s.checkReport(t, "90 days", stdout)
		if r.Account != s.sim.Account() || r.Authorized.Count > n/8 {
			t.Errorf("account %q, %d authorized", r.Account, r.Authorized.Count)
		}
		for request := range s.takeRequests() {
			if !strings.HasPrefix(request, "GET ") {
				t.Errorf("a secret key was used for %s", request)
			}
		}
	})
	t.Run("text", func(t *testing.T) { s.checkText(t, bin) })
	t.Run("interrupted and resumed", func(t *testing.T) { s.checkResume(t, bin, s.pages(n)) })
	if now := len(s.sim.Ledger()); now < effects {
		t.Errorf("%d effects became %d", effects, now)
	}
	for _, e := range s.sim.Ledger()[effects:] {
		if e.Kind != stripesim.EffectExpired { // by itself, meanwhile
			t.Errorf("an audit caused %+v", e)
		}
	}
}

// checkText checks what an operator sees.
func (s *auditedStripe) checkText(t *testing.T, bin string) {
	code, stdout, stderr := runHoldd(t, bin, s.env(auditKey), "audit", "--rate", "25")
	if code != 0 {
		t.Fatal(code, stderr)
	}
	for _, want := range []string{"Expired uncaptured: ", "mastercard", "Held now: ",
		"Held twice for one customer: ", "Half of ", "the end of the authorization is assumed"} {
		if !strings.Contains(strings.Join(strings.Fields(stdout), " "), want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	for line := range strings.Lines(stdout) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	s.takeRequests()
}

// checkResume interrupts an audit after 20 pages and continues it.
func (s *auditedStripe) checkResume(t *testing.T, bin string, pages int) {
	dir := t.TempDir()
	var cmd *exec.Cmd
	start := func(args ...string) (stdout, stderr *bytes.Buffer) {
		stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
		cmd = exec.Command(bin, append([]string{"audit", "--rate", "25", "--json"}, args...)...)
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = s.env(auditKey), dir, stdout, stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return stdout, stderr
	}
	reached := make(chan struct{})
	s.mu.Lock()
	s.onList = func(n int) {
		if n == 20 {
			close(reached)
		}
	}
	s.mu.Unlock()
	_, stderr := start("--since", "3y")
	select {
	case <-reached:
	case <-time.After(processTimeout):
		_ = cmd.Process.Kill()
		t.Fatalf("no 20 pages were read in %s: %s", processTimeout, stderr)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its exit code is checked
	s.mu.Lock()
	s.onList = nil
	s.mu.Unlock()
	if code := cmd.ProcessState.ExitCode(); code != 130 ||
		!strings.Contains(stderr.String(), "holdd audit --resume") {
		t.Errorf("interrupted: exit code %d: %s", code, stderr)
	}
	file := filepath.Join(dir, "holdd-audit.checkpoint")
	if b, err := os.ReadFile(file); err != nil || bytes.Contains(b, []byte(auditKey)) {
		t.Fatalf("the checkpoint: %v, or it has the key", err)
	}
	if _, stderr = start("--since", "3y"); cmd.Wait() == nil ||
		!strings.Contains(stderr.String(), "unfinished audit") {
		t.Errorf("a new audit over an unfinished one: %s", stderr)
	}
	stdout, stderr := start("--resume")
	if err := cmd.Wait(); err != nil {
		t.Fatal(err, stderr)
	}
	s.checkReport(t, "resumed", stdout.String())
	requests := s.takeRequests()
	if n := requests["GET /v1/payment_intents"]; n < pages || n > pages+1 {
		t.Errorf("%d pages in two runs, want %d and perhaps one again", n, pages)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("a finished audit leaves %v", left)
	}
}
