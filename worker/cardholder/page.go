package cardholder

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"html"
	"net/http"
	"regexp"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// CardholderActions takes what a cardholder does. intake.CardholderActionService implements it.
type CardholderActions interface {
	ReadHold(ctx context.Context, id string) (hold.Hold, time.Time, error)
	// StartAuthentication returns the page of the bank; empty if there is none.
	StartAuthentication(ctx context.Context, id string, generation uint32, returnURL string) (
		hold.Secret, error)
	// StartCardSetup returns the page on which another card is given.
	StartCardSetup(ctx context.Context, id string, generation uint32, returnURL, cancelURL string) (
		hold.Secret, error)
	// RecordReturnAndWait takes note that the cardholder has come back, from
	// the Checkout Session if one is named.
	RecordReturnAndWait(ctx context.Context, id string, generation uint32, session string) error
}

// Options configure a [Page].
type Options struct {
	Links    *LinkSigner
	Desk     CardholderActions
	Property string         // the name that cardholders know, such as that of the hotel
	TimeZone *time.Location // of the times on the page; nil means UTC
	Livemode bool
	Logger   *zap.Logger
}

// Page is the page of cardholders. It is an [http.Handler] for the paths under
// [PathPrefix].
type Page struct {
	o   Options
	mux *http.ServeMux
}

// NewPage returns the page of the cardholders.
func NewPage(o Options) *Page {
	if o.TimeZone == nil {
		o.TimeZone = time.UTC
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	p := &Page{o: o, mux: http.NewServeMux()}
	p.mux.HandleFunc("GET "+PathPrefix+"{token}", p.withVerifiedLink(p.showNextStep))
	p.mux.HandleFunc("GET "+PathPrefix+"{token}/card", p.withVerifiedLink(p.showOtherCardQuestion))
	p.mux.HandleFunc("GET "+PathPrefix+"{token}/back",
		p.withVerifiedLink(p.recordReturnAndRedirect))
	p.mux.HandleFunc("POST "+PathPrefix+"{token}/bank", p.withVerifiedLink(p.sendToBankPage))
	p.mux.HandleFunc("POST "+PathPrefix+"{token}/card", p.withVerifiedLink(p.sendToCardForm))
	p.mux.HandleFunc(PathPrefix, func(w http.ResponseWriter, r *http.Request) {
		v := p.newPageRequest(r)
		v.writePage(w, http.StatusNotFound, &pageContent{title: v.t.unknownTitle,
			lines: []string{v.t.unknown}})
	})
	return p
}

// HasValidLink reports whether a request has a link that holdd signed and that
// has not expired.
func (p *Page) HasValidLink(r *http.Request) bool {
	token, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, PathPrefix), "/")
	_, err := p.o.Links.verifyToken(token, time.Now())
	return err == nil
}

// ServeHTTP implements [http.Handler].
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

// pageRequest is one request.
type pageRequest struct {
	p    *Page
	r    *http.Request
	t    *pageTexts
	self string // path of the page
	link signedLink
	h    hold.Hold // after load
}

func (p *Page) newPageRequest(r *http.Request) *pageRequest {
	return &pageRequest{p: p, r: r, t: textsForAcceptLanguage(r.Header.Get("Accept-Language")),
		self: PathPrefix + r.PathValue("token")}
}

// withVerifiedLink serves requests whose link is valid. Others read nothing.
func (p *Page) withVerifiedLink(serve func(http.ResponseWriter, *pageRequest)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := p.newPageRequest(r)
		l, err := p.o.Links.verifyToken(r.PathValue("token"), time.Now())
		switch {
		case errors.Is(err, errExpiredLink):
			v.writePage(w, http.StatusGone, &pageContent{title: v.t.expiredTitle,
				lines: []string{v.t.expired}})
		case err != nil:
			v.writePage(w, http.StatusNotFound, &pageContent{title: v.t.unknownTitle,
				lines: []string{v.t.unknown}})
		default:
			v.link = l
			serve(w, v)
		}
	}
}

func (p *Page) showNextStep(w http.ResponseWriter, v *pageRequest) {
	v.readHoldAndShowNextStep(w, false)
}
func (p *Page) showOtherCardQuestion(w http.ResponseWriter, v *pageRequest) {
	v.readHoldAndShowNextStep(w, true)
}

// sendToBankPage leads to the bank's page.
func (p *Page) sendToBankPage(w http.ResponseWriter, v *pageRequest) {
	back := p.o.Links.url(v.r.PathValue("token")) + "/back"
	page, err := p.o.Desk.StartAuthentication(v.r.Context(), v.link.hold, v.link.generation, back)
	v.writeRedirectPage(w, page, err)
}

// sendToCardForm leads to the form for another card.
func (p *Page) sendToCardForm(w http.ResponseWriter, v *pageRequest) {
	url := p.o.Links.url(v.r.PathValue("token"))
	page, err := p.o.Desk.StartCardSetup(v.r.Context(), v.link.hold, v.link.generation,
		url+"/back?session={CHECKOUT_SESSION_ID}", url)
	v.writeRedirectPage(w, page, err)
}

// sessionPattern matches the id of a Checkout Session.
var sessionPattern = regexp.MustCompile(`^cs_[A-Za-z0-9_]{1,200}$`)

// recordReturnAndRedirect is where a bank or Stripe returns the cardholder. Its
// query has secrets of Stripe's, so it leads on to the page without one.
func (p *Page) recordReturnAndRedirect(w http.ResponseWriter, v *pageRequest) {
	session := v.r.URL.Query().Get("session")
	if !sessionPattern.MatchString(session) {
		session = ""
	}
	err := p.o.Desk.RecordReturnAndWait(v.r.Context(), v.link.hold, v.link.generation, session)
	if err != nil && !isHoldProblem(err) {
		v.writeUnavailablePage(w, err)
		return
	}
	http.Redirect(w, v.r, v.self, http.StatusSeeOther)
}

// isHoldProblem reports whether an error says that the hold does not allow what
// the cardholder did. The page then shows what the hold allows.
func isHoldProblem(err error) bool {
	var p *hold.Problem
	return errors.As(err, &p)
}

// writeRedirectPage leads to a page of Stripe's. Its URL is in a page instead
// of a redirect, because a browser applies the form-action of the
// Content-Security-Policy to redirects too, and a bank may have any address.
func (v *pageRequest) writeRedirectPage(w http.ResponseWriter, page hold.Secret, err error) {
	url := page.Reveal()
	switch {
	case err != nil && !isHoldProblem(err):
		v.writeUnavailablePage(w, err)
	case url == "" || !isWebURL(url):
		http.Redirect(w, v.r, v.self, http.StatusSeeOther)
	default:
		v.writePage(w, http.StatusOK, &pageContent{title: v.t.leaveTitle,
			lines:   []string{v.t.leave},
			refresh: url, linkURL: url, linkText: v.t.link})
	}
}

func isWebURL(s string) bool {
	return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")
}

// writeUnavailablePage says that the request may succeed later.
func (v *pageRequest) writeUnavailablePage(w http.ResponseWriter, err error) {
	if !errors.Is(err, health.ErrUnavailable) {
		v.p.o.Logger.Error("cardholder's page failed", zap.String("hold", v.link.hold),
			zap.Error(err))
	}
	w.Header().Set("Retry-After", "60")
	v.writePage(w, http.StatusServiceUnavailable, &pageContent{title: v.t.troubleTitle,
		lines: []string{v.t.trouble}, linkURL: v.self, linkText: v.t.troubleTitle})
}

// readHoldAndShowNextStep shows what the cardholder can do. With card, another card is asked
// for although the saved one could do.
func (v *pageRequest) readHoldAndShowNextStep(w http.ResponseWriter, card bool) {
	var now time.Time
	var err error
	v.h, now, err = v.p.o.Desk.ReadHold(v.r.Context(), v.link.hold)
	switch {
	case errors.Is(err, &hold.Problem{Code: hold.HoldNotFound}):
		v.writePage(w, http.StatusOK, v.closedPage())
		return
	case err != nil:
		v.writeUnavailablePage(w, err)
		return
	}
	status := hold.RenewalStatusForCardholder(&v.h, v.link.generation, now)
	v.writePage(w, http.StatusOK, v.pageForStatus(status, card))
}

func (v *pageRequest) closedPage() *pageContent {
	return &pageContent{title: v.t.lateTitle, lines: []string{v.t.late}}
}

func (v *pageRequest) pageForStatus(s hold.CardholderRenewalStatus, card bool) *pageContent {
	t := v.t
	switch s {
	case hold.CardholderMustAuthenticate, hold.CardholderMustGiveCard:
		out := &pageContent{title: t.title, lines: []string{t.question, t.bank, t.next, t.twice},
			booking: true, action: v.self + "/bank", button: t.toBank,
			linkURL: v.self + "/card", linkText: t.otherCard}
		switch {
		case s == hold.CardholderMustGiveCard:
			out.lines[1] = t.card
		case card:
			out.lines = []string{t.question, t.next, t.twice}
		default:
			return out
		}
		out.action, out.button = v.self+"/card", t.toCard
		out.linkURL = ""
		return out
	case hold.CardholderMustWait:
		return &pageContent{title: t.waitTitle, lines: []string{t.wait}, refresh: v.self,
			wait:    true,
			linkURL: v.self, linkText: t.link}
	case hold.CardholderHasNothingToDo:
		return &pageContent{title: t.doneTitle, lines: []string{t.done}, booking: true}
	case hold.CardholderLinkOutdated:
		return &pageContent{title: t.expiredTitle, lines: []string{t.expired}}
	}
	return v.closedPage()
}

// pageContent is what a page shows.
type pageContent struct {
	title             string
	lines             []string
	booking           bool   // show the reference
	action, button    string // of the form
	linkURL, linkText string
	refresh           string // where the browser goes by itself
	wait              bool   // it goes after some seconds
}

const style = `:root{color-scheme:light dark}
body{font:1.125rem/1.5 system-ui,sans-serif;margin:0;background:#fff;color:#1a1a1a}
main{max-width:32rem;margin:0 auto;padding:1.5rem}
h1{font-size:1.5rem;line-height:1.25}
button{font:inherit;font-weight:600;width:100%;padding:.875rem;border:0;border-radius:.5rem;
background:#0b57d0;color:#fff;cursor:pointer}
button:focus-visible,a:focus-visible{outline:3px solid #f5a623;outline-offset:2px}
a{color:#0b57d0}.soft{color:#545454}
@media(prefers-color-scheme:dark){body{background:#121212;color:#eee}a{color:#8ab4f8}
.soft{color:#b5b5b5}button{background:#8ab4f8;color:#10131a}}`

var securityPolicy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

// writePage writes a page. All that is not of the code is escaped.
func (v *pageRequest) writePage(w http.ResponseWriter, status int, page *pageContent) {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Language", v.t.lang)
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", securityPolicy)
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Robots-Tag", "noindex, nofollow")
	if page.refresh != "" {
		delay := "0"
		if page.wait {
			delay = "3"
		}
		header.Set("Refresh", delay+"; url="+page.refresh)
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(v.renderHTML(page))) // fails only if the visitor has left
}

func (v *pageRequest) renderHTML(page *pageContent) string {
	fill := v.newPlaceholderReplacer()
	var b strings.Builder
	b.WriteString(`<!doctype html><html lang="` + v.t.lang + `"><head><meta charset="utf-8">` +
		`<meta name="viewport" content="width=device-width, initial-scale=1">`)
	b.WriteString("<title>" + html.EscapeString(fill.Replace(page.title)) + "</title><style>" +
		style + "</style></head><body><main><h1>" + html.EscapeString(fill.Replace(page.title)) +
		"</h1>")
	if page.booking && v.h.Reference != "" {
		b.WriteString(`<p class="soft">` + html.EscapeString(fill.Replace(v.t.booking)) + "</p>")
	}
	for _, line := range page.lines {
		b.WriteString("<p>" + html.EscapeString(fill.Replace(line)) + "</p>")
	}
	if page.action != "" {
		b.WriteString(`<form method="post" action="` + html.EscapeString(page.action) +
			`"><button>` + html.EscapeString(page.button) + "</button></form>")
	}
	if page.linkURL != "" {
		b.WriteString(`<p><a rel="noreferrer" href="` + html.EscapeString(page.linkURL) + `">` +
			html.EscapeString(page.linkText) + "</a></p>")
	}
	if !v.p.o.Livemode {
		b.WriteString(`<p class="soft">` + html.EscapeString(v.t.test) + "</p>")
	}
	b.WriteString("</main></body></html>\n")
	return b.String()
}

// newPlaceholderReplacer replace what the texts leave open.
func (v *pageRequest) newPlaceholderReplacer() *strings.Replacer {
	pairs := []string{"{property}", v.p.o.Property}
	if h := &v.h; h.ID != "" {
		amount, until := h.Amount, h.ExpiresAt
		if r := h.Renewal; r != nil {
			if r.Step == hold.RenewalRequiresAction {
				amount = r.Amount
			}
			if !r.Until.IsZero() {
				until = r.Until
			}
		}
		pairs = append(pairs, "{amount}", hold.FormatAmount(amount, h.Currency),
			"{reference}", h.Reference, "{until}", v.t.formatTime(until, v.p.o.TimeZone),
			"{deadline}", v.t.formatTime(h.ExpiresAt, v.p.o.TimeZone))
	}
	return strings.NewReplacer(pairs...)
}
