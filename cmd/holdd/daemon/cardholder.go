package daemon

import (
	"time"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/cardholder"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
)

// newCardholderLinkSigner returns nil if the settings have no page for
// cardholders.
func newCardholderLinkSigner(s *config.Settings) *cardholder.LinkSigner {
	if s.PublicURL == "" {
		return nil
	}
	return cardholder.NewLinkSigner(s.PublicURL, s.CardholderSecret.Reveal())
}

// newCardholderLinkFunc returns the link of events and alerts; nil without a
// page.
func newCardholderLinkFunc(s *config.Settings) func(*hold.Hold) string {
	links := newCardholderLinkSigner(s)
	if links == nil {
		return nil
	}
	return func(h *hold.Hold) string {
		url, _ := links.SignLink(h)
		return url
	}
}

// newCardholderOptions returns nil if the settings have no page for cardholders.
func newCardholderOptions(
	o *Options, desk *intake.CardholderActionService, livemode bool,
) *api.CardholderOptions {
	s := o.Settings
	links := newCardholderLinkSigner(s)
	if links == nil {
		return nil
	}
	page := cardholder.Options{Links: links, Desk: desk, Property: s.PropertyName,
		Livemode: livemode, Logger: o.Logger}
	if zone, err := time.LoadLocation(s.AlertTimeZone); err == nil { // checked by config
		page.TimeZone = zone
	}
	return &api.CardholderOptions{Link: links.SignLink, Page: cardholder.NewPage(page),
		Elsewhere: s.CardholderListen != ""}
}
