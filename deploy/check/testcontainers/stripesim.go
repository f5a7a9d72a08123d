// Package testcontainers shows how a test starts the simulator of Stripe in a
// container. Copy it. It is a module of its own, so that the product does not
// depend on Testcontainers.
package testcontainers

import (
	"context"
	"fmt"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

const stripesimPort = "12113/tcp"

// StartStripesim builds and starts the simulator, and returns its address: the
// base URL of a Stripe client. root is the top of a checkout of holdd. The
// caller passes the container to testcontainers.CleanupContainer, also after an
// error.
func StartStripesim(
	ctx context.Context, root string,
) (url string, container *testcontainers.DockerContainer, err error) {
	container, err = testcontainers.Run(ctx, "",
		testcontainers.WithDockerfile(testcontainers.FromDockerfile{Context: root,
			Dockerfile: "deploy/stripesim/Dockerfile", KeepImage: true}),
		testcontainers.WithExposedPorts(stripesimPort),
		testcontainers.WithWaitStrategy(wait.ForHTTP("/").WithPort(stripesimPort)))
	if err != nil {
		return "", container, fmt.Errorf("start stripesim: %w", err)
	}
	url, err = container.PortEndpoint(ctx, stripesimPort, "http")
	return url, container, err
}
