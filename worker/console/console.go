package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/query"
	"github.com/holdd/holdd/worker/reconcile"
)

// HoldReader finds, lists and totals holds. query.HoldReader implements it.
type HoldReader interface {
	Get(ctx context.Context, id string) (hold.Hold, time.Time, error)
	List(ctx context.Context, q query.HoldQuery) (query.HoldPage, error)
	SumTotals(ctx context.Context, q query.HoldQuery) (query.HoldTotals, error)
}

// HoldChanger changes holds. intake.Changer implements it.
type HoldChanger interface {
	PatchTerms(ctx context.Context, id string, p hold.Patch, revision uint64, by string) (
		hold.Hold, time.Time, error)
	RequestCapture(
		ctx context.Context, id string, req hold.CaptureRequest, revision uint64, by string,
	) (hold.Hold, time.Time, error)
	RequestCancel(ctx context.Context, id, reason string, revision uint64, by string) (
		hold.Hold, time.Time, error)
	PauseHold(ctx context.Context, id string, revision uint64, confirmed bool, by string) (
		hold.Hold, time.Time, error)
	ResumeHold(ctx context.Context, id string, revision uint64, confirmed bool, by string) (
		hold.Hold, time.Time, error)
	AcknowledgeWarnings(ctx context.Context, id string, revision uint64, by string) (
		hold.Hold, time.Time, error)
	RequestIncrementAndWait(ctx context.Context, id string, req hold.IncrementRequest, revision uint64,
		by string) (hold.Hold, time.Time, error)
	// Erase erases the personal data of a settled hold.
	Erase(ctx context.Context, id, by string) (hold.Hold, time.Time, error)
}

// HoldScheduler schedules holds. intake.Scheduler implements it.
type HoldScheduler interface {
	Schedule(ctx context.Context, reqs []hold.ScheduleRequest, by string) []intake.ScheduleResult
}

// Planner forecasts what the worker will do. query.Planner implements it.
type Planner interface {
	ForecastPlan(ctx context.Context, next time.Duration) (query.Plan, error)
}

// Reconciler compares the schedule with Stripe. reconcile.Reconciler implements
// it.
type Reconciler interface {
	StartRun(ctx context.Context, dryRun bool, accounts []string, by string) (
		run reconcile.Reconciliation, started bool, err error)
	ReadReconciliation(ctx context.Context, id string) (run reconcile.Reconciliation, ok bool,
		err error)
}

// DeliveryService shows and replays deliveries to sinks. alert.Notifier
// implements it.
type DeliveryService interface {
	ListSinkStatuses(ctx context.Context) ([]event.SinkStatus, error)
	ListDeadLetters(ctx context.Context, sink string, n int) (list []hold.DeadLetter, total int64,
		err error)
	RequeueDeadLetters(ctx context.Context, sink string, ids []string) (int64, error)
	HasSink(sink string) bool
}

// ReadinessChecker checks what this replica needs to work.
// worker.ReadinessChecker implements it.
type ReadinessChecker interface {
	Check(ctx context.Context) []health.ReadinessCheckResult
}

// StoreReader reads what no part of the worker shows. store.Store implements it.
type StoreReader interface {
	ReadNewestEvents(ctx context.Context, n int) ([]hold.StreamEvent, error)
	ListAliveReplicas(ctx context.Context) ([]string, error)
	ListLoweredRates(ctx context.Context) ([]hold.LoweredRate, error)
	// ReadOldestDueAge returns for how long the oldest hold has been due that no
	// replica has claimed.
	ReadOldestDueAge(ctx context.Context) (time.Duration, error)
}

// StageReporter reports when the stages of this replica last succeeded.
// health.Reporter implements it.
type StageReporter interface {
	LastSuccesses() map[string]time.Time
}

// Options configure a console. The parts of the worker are required.
type Options struct {
	Reader     HoldReader
	Changer    HoldChanger
	Scheduler  HoldScheduler
	Planner    Planner
	Reconciler Reconciler
	Deliveries DeliveryService
	Readiness  ReadinessChecker
	Store      StoreReader
	Stages     StageReporter

	// Doctor runs the checks of "holdd doctor". Nil: the pages do not offer them.
	Doctor func(ctx context.Context) []DoctorCheck

	Tokens TokenAuthenticator // nil: no visitor needs a token
	// Identity names visitors who then need no token. May be nil.
	Identity      *TrustedIdentity
	SessionLength time.Duration  // 0: 12 h
	TimeZone      *time.Location // of the times shown; nil: UTC
	Livemode      bool
	Version       string
	Rules         hold.DecisionRules
	Logger        *zap.Logger // nil: nothing is logged
	// RecordAct records what a visitor did; nil: nothing does.
	RecordAct func(ctx context.Context, e hold.AuditLogEntry)
	// ReportRefusal logs a sign-in that was refused; may be nil. by is the name
	// of its token, if it has one.
	ReportRefusal func(r *http.Request, code, by string)
	// CardholderLink returns the link for a hold whose renewal requires its
	// cardholder. Nil: there are none.
	CardholderLink func(*hold.Hold) string
}

// Console is the operator's web pages. It is an [http.Handler] of /console/.
type Console struct {
	o    Options
	mux  *http.ServeMux
	live *liveUpdates
}

// New returns a console.
func New(o Options) (*Console, error) {
	if o.Reader == nil || o.Changer == nil || o.Scheduler == nil || o.Planner == nil ||
		o.Reconciler == nil || o.Deliveries == nil || o.Readiness == nil || o.Store == nil ||
		o.Stages == nil {
		return nil, errors.New("invalid console options: set every part of the worker")
	}
	if o.SessionLength <= 0 {
		o.SessionLength = sessionLength
	}
	if o.TimeZone == nil {
		o.TimeZone = time.UTC
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.RecordAct == nil {
		o.RecordAct = func(context.Context, hold.AuditLogEntry) {}
	}
	c := &Console{o: o, mux: http.NewServeMux(), live: newLiveUpdates(o.Store)}
	c.addRoutes()
	return c, nil
}

// Close ends the streams of live updates, which would otherwise delay the
// shutdown of the server.
func (c *Console) Close() { c.live.closeStreams() }

func (c *Console) addRoutes() {
	overview, holds := overviewPages{&c.o}, holdPages{&c.o}
	unscheduled, deliveries := notScheduledPages{&c.o}, deliveryPages{&c.o}
	checks, audit, bulk := healthPages{&c.o}, recentHistoryPages{&c.o}, bulkPages{&c.o}
	for pattern, page := range map[string]pageFunc{
		"GET /console/{$}":                 overview.todayPage,
		"GET /console/holds":               holds.holdsPage,
		"GET /console/holds/{id}":          holds.holdPage,
		"GET /console/holds/{id}/{act}":    holds.actFormOrConfirmationPage,
		"POST /console/holds/{id}/{act}":   holds.applyConfirmedAct,
		"GET /console/bulk/{act}":          bulk.bulkConfirmationPage,
		"POST /console/bulk/{act}":         bulk.applyConfirmedBulkAct,
		"GET /console/plan":                overview.planPage,
		"GET /console/not-scheduled":       unscheduled.notScheduledPage,
		"GET /console/not-scheduled/{id}":  unscheduled.adoptConfirmationPage,
		"POST /console/not-scheduled/{id}": unscheduled.adoptIntentAndApplyConfirmedAct,
		"POST /console/not-scheduled":      unscheduled.startReconcile,
		"GET /console/deliveries":          deliveries.deliveriesPage,
		"GET /console/deliveries/{sink}":   deliveries.replayConfirmationPage,
		"POST /console/deliveries/{sink}":  deliveries.requeueConfirmedDeadLetters,
		"GET /console/health":              checks.healthPage,
		"GET /console/health/doctor":       checks.doctorStartPage,
		"POST /console/health/doctor":      checks.runDoctorAndShowResults,
		"GET /console/audit":               audit.auditPage,
		"GET /console/":                    notFoundPage,
	} {
		c.mux.HandleFunc(pattern, c.newSignedInPageHandler(page))
	}
	if c.o.Tokens != nil {
		c.mux.HandleFunc("GET /console/sign-in", c.newPageHandler(c.signInOrShowForm))
		c.mux.HandleFunc("POST /console/sign-in", c.newPageHandler(c.signInOrShowForm))
		c.mux.HandleFunc("POST /console/sign-out", c.newPageHandler(c.signOut))
	}
	c.mux.HandleFunc("GET /console/live", c.streamLiveUpdates)
	c.mux.HandleFunc("GET /console/static/{file}", serveStatic)
	c.mux.Handle("GET /console", http.RedirectHandler("/console/", http.StatusSeeOther))
}

// contentSecurityPolicy allows the console's own files only. No code and no
// style is part of a page, and no script may write HTML.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// ServeHTTP serves a request whose address and origin package api has checked.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	c.mux.ServeHTTP(w, r)
}

// IsStream reports whether a path is served for as long as its page is open.
func (*Console) IsStream(path string) bool { return path == "/console/live" }

// pageFunc reads what a page shows. Its error is shown instead of the page.
type pageFunc func(q *request) (pageView, error)

// pageView is a page, or where to go instead.
type pageView struct {
	title    string
	tab      string // of the navigation that is current
	status   int    // 0: 200
	body     node
	live     bool // the page follows live updates
	redirect string
	csv      string // a file instead of a page
}

func wrapAsUnavailable(err error) error { return fmt.Errorf("%w: %w", health.ErrUnavailable, err) }

func isNotFound(err error) bool { return errors.Is(err, &hold.Problem{Code: hold.HoldNotFound}) }

// request is a request for a page.
type request struct {
	w http.ResponseWriter
	r *http.Request
	texts
	visitor visitor
	now     time.Time
	zone    *time.Location
}

func (q *request) ctx() context.Context { return q.r.Context() }

// newSignedInPageHandler serves a page to visitors who are signed in, and changes to
// those who may operate.
func (c *Console) newSignedInPageHandler(page pageFunc) http.HandlerFunc {
	return c.newPageHandler(func(q *request) (pageView, error) {
		var ok bool
		if q.visitor, ok = c.authenticateVisitor(q.r); !ok {
			if q.r.Method != http.MethodPost {
				return pageView{redirect: signInURL(q.r.URL.RequestURI(), "")}, nil
			}
			return pageView{redirect: signInURL(q.r.URL.Path, "expired")}, nil
		}
		if q.r.Method == http.MethodPost && !q.visitor.mayOperate {
			return q.messagePage(http.StatusForbidden, q.t("error.role.title"),
				q.t("error.role.detail", q.visitor.name)), nil
		}
		return page(q)
	})
}

func (c *Console) newPageHandler(page pageFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := &request{w: w, r: r, texts: english, now: time.Now(), zone: c.o.TimeZone}
		r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
		v, err := pageView{}, r.ParseForm()
		if err != nil {
			v = q.messagePage(http.StatusBadRequest, q.t("error.form.title"),
				q.t("error.form.detail"))
		} else if v, err = page(q); err != nil {
			v = c.errorPage(q, err)
		}
		if v.redirect != "" {
			http.Redirect(w, r, v.redirect, http.StatusSeeOther)
			return
		}
		if v.csv != "" {
			w.Header().Set("Content-Type", "text/csv; charset=utf-8")
			w.Header().Set("Content-Disposition", `attachment; filename="holdd-audit.csv"`)
			_, _ = io.WriteString(w, v.csv) // fails only if the visitor has left
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if v.status != 0 {
			w.WriteHeader(v.status)
		}
		var b bytes.Buffer
		b.WriteString("<!doctype html>")
		c.renderLayout(q, &v).Write(&b)
		_, _ = w.Write(b.Bytes()) // fails only if the visitor has left
	}
}

// errorPage turns an error into a page. The text of an unexpected error is
// logged, not shown.
func (c *Console) errorPage(q *request, err error) pageView {
	var p *hold.Problem
	switch {
	case errors.As(err, &p):
		return q.problemPage(p)
	case errors.Is(err, health.ErrUnavailable), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, context.Canceled):
		return q.messagePage(http.StatusServiceUnavailable, q.t("error.unavailable.title"),
			q.t("error.unavailable.detail"))
	}
	c.o.Logger.Error("console: page failed", zap.String("path", q.r.URL.Path), zap.Error(err))
	return q.messagePage(http.StatusInternalServerError, q.t("error.internal.title"),
		q.t("error.internal.detail"))
}

// problemPage says why a request was refused, and that nothing was changed.
func (q *request) problemPage(p *hold.Problem) pageView {
	status, key := http.StatusConflict, "error.refused.title"
	switch {
	case p.Code == hold.HoldNotFound:
		status, key = http.StatusNotFound, "error.not_found.title"
	case p.Code == hold.RevisionMismatch:
		status, key = http.StatusPreconditionFailed, "error.faster.title"
	case p.Code == hold.TooLate || strings.HasPrefix(string(p.Code), "already_"):
		key = "error.faster.title"
	case strings.HasPrefix(string(p.Code), "invalid_"):
		status = http.StatusUnprocessableEntity
	}
	v := q.messagePage(status, q.t(key), p.Detail+".")
	if id := q.r.PathValue("id"); id != "" && p.Code != hold.HoldNotFound {
		v.body = group{v.body, el("p", link(holdPagePath(id), q.t("error.back_to_hold")))}
	}
	return v
}

func notFoundPage(q *request) (pageView, error) {
	return q.messagePage(http.StatusNotFound, q.t("error.not_found.title"),
		q.t("error.not_found.detail")), nil
}

func (q *request) messagePage(status int, title, detail string) pageView {
	return pageView{title: title, status: status,
		body: el("p", class("note warn"), a("role", "alert"), bdi(detail))}
}
