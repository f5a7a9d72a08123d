package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/holdd/holdd/worker/api/client"
	"github.com/holdd/holdd/worker/hold"
)

func Example() {
	c, err := client.New("http://127.0.0.1:8420", "")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	h, _, err := c.Schedule(context.Background(), hold.ScheduleRequest{
		PaymentIntent: "pi_3PxYzA2eZvKYlo2C1gQmT0aB", Reference: "BK-2071",
		CaptureAt: "2026-12-01T11:00:00+01:00",
	})
	var unreachable *client.UnreachableError
	switch {
	case errors.As(err, &unreachable):
		fmt.Println("send the same request again:", err)
	case errors.Is(err, &client.Problem{Code: hold.HoldExists}):
		fmt.Println("the hold has other terms")
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Println(h.State, h.NextAt)
	}
}
