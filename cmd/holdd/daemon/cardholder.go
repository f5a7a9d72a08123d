package daemon

import (
	"time"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/cardholder"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
)

// newCardholderLinks returns nil if the settings have no page for cardholders.
func newCardholderLinks(s *config.Settings) *cardholder.Links {
	if s.PublicURL == "" {
		return nil
	}
	return cardholder.NewLinks(s.PublicURL, s.CardholderSecret.Reveal())
}

// cardholderLink returns the link of events and alerts; nil without a page.
func cardholderLink(s *config.Settings) func(*hold.Hold) string {
	links := newCardholderLinks(s)
	if links == nil {
		return nil
	}
	return func(h *hold.Hold) string {
		url, _ := links.For(h)
		return url
	}
}

// cardholderOptions returns nil if the settings have no page for cardholders.
func cardholderOptions(
	o *Options, desk *intake.CardholderService, livemode bool,
) *api.CardholderOptions {
	s := o.Settings
	links := newCardholderLinks(s)
	if links == nil {
		return nil
	}
	page := cardholder.Options{Links: links, Desk: desk, Property: s.PropertyName,
		Livemode: livemode, Logger: o.Logger}
	if zone, err := time.LoadLocation(s.AlertTimeZone); err == nil { // checked by config
		page.TimeZone = zone
	}
	return &api.CardholderOptions{Link: links.For, Page: cardholder.NewPage(page),
		Elsewhere: s.CardholderListen != ""}
}
