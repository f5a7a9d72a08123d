// Package client is the Go client of holdd's HTTP API. It imports the standard
// library, package hold, which declares holds and requests, package event, which
// declares the events of callbacks, and package retryafter. These import only the
// standard library and each other.
//
//	c, err := client.New("http://127.0.0.1:8420", os.Getenv("HOLDD_TOKEN"))
//	…
//	h, _, err := c.Schedule(ctx, hold.ScheduleRequest{PaymentIntent: "pi_…", Reference: "BK-2071",
//		CaptureAt: "2026-12-01T11:00:00+01:00"})
//	if errors.Is(err, &client.Problem{Code: hold.HoldExists}) {
//
// The client repeats requests only if it was made by [Client.WithRetries]. Any
// request may be repeated: it takes effect once, apart from a capture in parts,
// which needs a key or a revision. [IsOutcomeUnknown] says when to repeat it.
//
// [VerifyCallback] returns the event of a callback.
//
// The server sends the types of this package. Fields are added in later
// releases, and unknown ones are ignored.
package client
