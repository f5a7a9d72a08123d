package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
)

// handledWebhookEvents are the snapshot events that an endpoint of holdd
// receives. requests.md lists them.
var handledWebhookEvents = append([]string{"charge.succeeded", "charge.updated"},
	requiredWebhookEvents...)

// maxWebhookCreateTries bounds how often the endpoint is requested while its
// reply is lost. All tries have the same idempotency key, and wait for one to two
// seconds, so that Stripe can finish the first.
const (
	maxWebhookCreateTries = 5
	webhookCreatePause    = time.Second
)

// setUpWebhooks creates or updates the webhook endpoint and returns the file
// with its signing secret: empty if there is no endpoint, or if the environment
// has the secret.
func (a *initAnswers) setUpWebhooks(
	ctx context.Context, out *terminal, env environList, s *config.Settings,
) (file string, err error) {
	if a.publicURL == "" {
		fmt.Fprintln(out.stdout, "No webhook endpoint: without a public URL, holdd learns of changes "+
			"at Stripe by comparing.\nWhile you develop: stripe listen --forward-to 127.0.0.1:8420"+
			api.WebhookPath)
		return "", nil
	}
	g, err := gateway.New(gateway.Options{APIKey: gateway.APIKey(s.StripeAPIKey.Reveal()),
		Context: s.StripeContext, BaseURL: s.StripeAPIBase, Concurrency: 1,
		Timeout: s.CallTimeout})
	if err != nil {
		return "", err
	}
	defer g.CloseIdleConnections()
	address := a.publicURL + api.WebhookPath
	all, answer := g.ListWebhookEndpoints(ctx)
	if answer.Kind != hold.AnswerOK {
		return "", webhookError(&answer)
	}
	i := indexOfEndpoint(all, address)
	file = a.secretFilePath("stripe_webhook_secrets")
	variable := findDefinedSecretVariable(env, "STRIPE_WEBHOOK_SECRETS")
	if i >= 0 {
		return a.adoptWebhook(ctx, out, g, &all[i], variable != "")
	}
	if variable != "" {
		return "", usageErrorf("unset it: the endpoint gets a secret of its own",
			"%s is set, and there is no endpoint %s yet", variable, address)
	}
	if err := createWebhookInto(ctx, g, address, file); err != nil {
		return "", err
	}
	fmt.Fprintf(out.stdout, "Created the webhook endpoint %s with %d events.\n", address,
		len(handledWebhookEvents))
	return file, nil
}

// adoptWebhook gives an endpoint that exists the right events, and keeps its
// signing secret.
func (a *initAnswers) adoptWebhook(
	ctx context.Context, out *terminal, g *gateway.Gateway, e *gateway.WebhookEndpoint, inEnv bool,
) (file string, err error) {
	if !inEnv {
		file = a.secretFilePath("stripe_webhook_secrets")
		if !isWebhookSecretInFile(file, e.ID) {
			if err := askAndWriteWebhookSecret(ctx, out, e, file); err != nil {
				return "", err
			}
		}
	}
	if isEnabledWithHandledEvents(e) {
		fmt.Fprintf(out.stdout, "The webhook endpoint %s exists already, with the right events.\n",
			e.URL)
		return file, nil
	}
	answer := g.EnableWebhookEndpointWithEvents(
		ctx,
		e.ID,
		handledWebhookEvents,
		"holdd-init-"+rand.Text(),
	)
	if answer.Kind != hold.AnswerOK {
		return "", webhookError(&answer)
	}
	fmt.Fprintf(out.stdout, "Updated the events of the webhook endpoint %s.\n", e.URL)
	return file, nil
}

// askAndWriteWebhookSecret asks for the signing secret of an endpoint that exists, and
// writes it to file.
func askAndWriteWebhookSecret(
	ctx context.Context, out *terminal, e *gateway.WebhookEndpoint, file string,
) error {
	if !out.interactive {
		return usageErrorf("set STRIPE_WEBHOOK_SECRETS to it, or delete the endpoint in the "+
			"Dashboard (Developers, Webhooks)", "the endpoint %s exists, and Stripe does not show its "+
			"signing secret again", e.URL)
	}
	out.printNote("The webhook endpoint %s exists, and Stripe does not show its secret again.",
		e.URL)
	secret, err := out.askSecret(ctx,
		"Its signing secret (whsec_..., in the Dashboard: Developers, Webhooks)")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(secret, "whsec_") {
		return usageErrorf("", "invalid signing secret: want one that starts with whsec_")
	}
	return writeWebhookSecret(file, e, hold.NewSecret(secret))
}

// createWebhookInto creates the endpoint and writes its signing secret to file.
// It first checks that it can write the file, because Stripe does not show the
// secret again.
func createWebhookInto(
	ctx context.Context, g *gateway.Gateway, address, file string,
) error {
	before, err := os.ReadFile(file)
	isNew := errors.Is(err, fs.ErrNotExist)
	if err == nil || isNew {
		err = writeFileAtomically(file, before, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot write the signing secret, so no webhook endpoint was created: %w",
			err)
	}
	e, secret, err := createWebhook(ctx, g, address)
	if err == nil {
		return writeWebhookSecret(file, &e, secret)
	}
	if isNew {
		_ = os.Remove(file)
	}
	return err
}

// writeWebhookSecret writes the file with the signing secret of an endpoint. A
// comment has the endpoint's id: another account, or the other mode, may have
// an endpoint with the same address and another secret.
func writeWebhookSecret(file string, e *gateway.WebhookEndpoint, secret hold.Secret) error {
	return writeFileAtomically(file,
		[]byte(webhookComment(e.ID)+e.URL+"\n"+secret.Reveal()+"\n"), 0o600)
}

// isWebhookSecretInFile reports whether file has the signing secret of the endpoint with
// this id.
func isWebhookSecretInFile(file, id string) bool {
	b, err := os.ReadFile(file)
	return err == nil && id != "" && strings.Contains(string(b), webhookComment(id)) &&
		strings.Contains(string(b), "\nwhsec_")
}

// webhookComment is the begin of the comment of a file with the signing secret
// of an endpoint. The endpoint's address ends it.
func webhookComment(id string) string {
	return "# Signing secret of Stripe's webhook endpoint " + id + ", "
}

func createWebhook(
	ctx context.Context, g *gateway.Gateway, address string,
) (e gateway.WebhookEndpoint, secret hold.Secret, err error) {
	key := "holdd-init-" + rand.Text()
	var answer hold.Answer
	for try := range maxWebhookCreateTries {
		if try > 0 && !sleepUnlessCanceled(ctx, webhookCreatePause+mathrand.N(webhookCreatePause)) {
			return gateway.WebhookEndpoint{}, hold.Secret{}, ctx.Err()
		}
		e, secret, answer = g.CreateWebhookEndpoint(ctx, address, handledWebhookEvents, key)
		if !isRetryableAnswer(answer.Kind) {
			break
		}
	}
	if answer.Kind != hold.AnswerOK {
		return gateway.WebhookEndpoint{}, hold.Secret{}, webhookError(&answer)
	}
	return e, secret, nil
}

// isRetryableAnswer reports whether the answer to a request is not its outcome: a
// repeat with the same key may get the reply that was lost.
func isRetryableAnswer(kind hold.AnswerKind) bool {
	switch kind {
	case hold.AnswerUnknown, hold.AnswerUnreachable, hold.AnswerKeyInUse, hold.AnswerLockTimeout,
		hold.AnswerRateLimited:
		return true
	}
	return false
}

// printDryRun says what holdd init would do. It sends reads only.
func (a *initAnswers) printDryRun(
	ctx context.Context, out *terminal, env environList, s *config.Settings,
) error {
	if a.publicURL != "" {
		g, err := newReadOnlyGateway(s)
		if err != nil {
			return err
		}
		defer g.CloseIdleConnections()
		all, answer := g.ListWebhookEndpoints(ctx)
		if answer.Kind != hold.AnswerOK {
			return webhookError(&answer)
		}
		address := a.publicURL + api.WebhookPath
		switch i := indexOfEndpoint(all, address); {
		case i < 0:
			fmt.Fprintf(out.stdout, "Would create the webhook endpoint %s with %d events.\n", address,
				len(handledWebhookEvents))
		case !isEnabledWithHandledEvents(&all[i]):
			fmt.Fprintf(out.stdout, "Would update the events of the webhook endpoint %s.\n", address)
		default:
			fmt.Fprintf(out.stdout, "Would keep the webhook endpoint %s.\n", address)
		}
		a.printDryRunOfSecret(out, env, all, address)
	}
	verb := "write"
	if _, err := os.Stat(a.path); err == nil {
		verb = "replace"
	}
	fmt.Fprintf(out.stdout, "Dry run, nothing was done. Would %s %s.\n", verb, a.path)
	return nil
}

// printDryRunOfSecret says what holdd init would do with the file of the signing
// secret of the endpoint at address.
func (a *initAnswers) printDryRunOfSecret(
	out *terminal, env environList, all []gateway.WebhookEndpoint, address string,
) {
	if findDefinedSecretVariable(env, "STRIPE_WEBHOOK_SECRETS") != "" {
		return
	}
	file := a.secretFilePath("stripe_webhook_secrets")
	if i := indexOfEndpoint(all, address); i >= 0 && isWebhookSecretInFile(file, all[i].ID) {
		fmt.Fprintf(out.stdout, "Would keep %s.\n", file)
		return
	} else if i >= 0 {
		fmt.Fprintf(out.stdout, "Would ask for its signing secret, which Stripe shows only once.\n")
	}
	verb := "write"
	if _, err := os.Stat(file); err == nil {
		verb = "replace"
	}
	fmt.Fprintf(out.stdout, "Would %s %s.\n", verb, file)
}

func indexOfEndpoint(all []gateway.WebhookEndpoint, address string) int {
	return slices.IndexFunc(all, func(e gateway.WebhookEndpoint) bool { return e.URL == address })
}

func isEnabledWithHandledEvents(e *gateway.WebhookEndpoint) bool {
	return e.Enabled && sameEvents(e.Events, handledWebhookEvents)
}

func sameEvents(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// webhookError returns the error of a request about webhook endpoints.
func webhookError(a *hold.Answer) error {
	reason := cmp.Or(a.Message, a.Kind.String())
	if isRetryableAnswer(a.Kind) {
		return &exitError{code: exitUnreachable, err: fmt.Errorf("no answer from Stripe: %s", reason),
			hint: "run holdd init again in a minute"}
	}
	switch a.Kind {
	case hold.AnswerUnauthorized:
		return usageErrorf("copy it again from the Dashboard (Developers, API keys)",
			"Stripe rejects this key: %s", reason)
	case hold.AnswerForbidden:
		return usageErrorf("grant it Webhook Endpoints: Write in the Dashboard (Developers, API "+
			"keys), or leave --public-url out and add the endpoint by hand",
			"this key may not write webhook endpoints: %s", reason)
	}
	return &exitError{code: exitFailed,
		err: errors.New("Stripe refuses the webhook endpoint: " + reason)}
}
