package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

const (
	defaultURL        = "http://127.0.0.1:8420"
	maxTokenFileBytes = 4096
)

// connectionFlags is the flags of the commands that call a running holdd.
type connectionFlags struct {
	out *terminal
	env environList

	url       string
	tokenFile string
	timeZone  string
	asJSON    bool
	format    outputFormat // see addOutputFlag
}

func addConnectionFlags(cmd *cobra.Command, out *terminal, env environList) *connectionFlags {
	c := &connectionFlags{out: out, env: env}
	f := cmd.Flags()
	f.StringVar(&c.url, "url", "", "address of holdd (HOLDD_URL; default "+defaultURL+")")
	f.StringVar(&c.tokenFile, "token-file", "", "file with the token (HOLDD_TOKEN_FILE)")
	f.StringVar(&c.timeZone, "time-zone", "",
		"time zone of local times, printed and given, such as Europe/Paris "+
			"(HOLDD_TIME_ZONE; default: this machine's for printed times)")
	f.BoolVar(&c.asJSON, "json", false, "print the API's JSON, one object a line")
	_ = cmd.MarkFlagFilename("token-file")
	return c
}

func (c *connectionFlags) newClient() (*api.Client, error) {
	url := cmp.Or(c.url, c.env.get("HOLDD_URL"), defaultURL)
	token, err := c.readToken()
	if err != nil {
		return nil, err
	}
	client, err := api.NewClient(url, token)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err, hint: "set the address with --url or " +
			"HOLDD_URL, and the token with --token-file or HOLDD_TOKEN_FILE"}
	}
	return client.WithClientName("cli"), nil
}

// newRunEWithClient returns a cobra RunE that calls run with a client.
func (c *connectionFlags) newRunEWithClient(
	run func(ctx context.Context, client *api.Client, args []string) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		client, err := c.newClient()
		if err != nil {
			return err
		}
		defer client.Close()
		return toExitError(run(cmd.Context(), client, args), "")
	}
}

func (c *connectionFlags) readToken() (string, error) {
	path, direct := c.tokenFile, c.env.get("HOLDD_TOKEN")
	if path == "" {
		path = c.env.get("HOLDD_TOKEN_FILE")
		if path != "" && direct != "" {
			return "", usageErrorf("unset one of them",
				"HOLDD_TOKEN and HOLDD_TOKEN_FILE are both set")
		}
	}
	if path == "" {
		return direct, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", usageErrorf(
			"set --token-file or HOLDD_TOKEN_FILE to a file with the token alone",
			"cannot read the token file: %w",
			err,
		)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTokenFileBytes+1))
	token := strings.TrimSpace(string(b))
	switch {
	case err != nil:
		return "", usageErrorf("", "cannot read the token file: %w", err)
	case len(b) > maxTokenFileBytes || strings.ContainsAny(token, " \t\r\n"):
		return "", usageErrorf("", "invalid token file %s: want the token alone, "+
			"which is the third word of a line of holdd's tokens file", path)
	case token == "":
		return "", usageErrorf("", "the token file %s is empty", path)
	}
	return token, nil
}

// timeZoneName returns the time zone of the flag or the environment, or "".
func (c *connectionFlags) timeZoneName() string {
	return cmp.Or(c.timeZone, c.env.get("HOLDD_TIME_ZONE"))
}

func (c *connectionFlags) newTimeFormatter(now time.Time) (timeFormatter, error) {
	name := c.timeZoneName()
	if name == "" {
		return timeFormatter{location: time.Local, now: now}, nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return timeFormatter{},
			usageErrorf("set --time-zone or HOLDD_TIME_ZONE to an IANA name such as Europe/Paris",
				"invalid time zone %.60q", name)
	}
	return timeFormatter{location: loc, now: now}, nil
}

// printJSONOrText writes v as JSON with --json. Otherwise it calls printText.
func (c *connectionFlags) printJSONOrText(v any, printText func(times timeFormatter)) error {
	return c.printObject(v, func(times timeFormatter, _ outputFormat) error {
		printText(times)
		return nil
	})
}

// resolveTimeFlag turns "now" and "+36h" into the times that the API takes. It
// returns everything else unchanged.
func resolveTimeFlag(s string, now time.Time) (string, error) {
	s = strings.TrimSpace(s)
	if s == "now" {
		return now.UTC().Format(time.RFC3339), nil
	}
	if span, ok := strings.CutPrefix(s, "+"); ok {
		d, err := api.ParseLookahead(span)
		if err != nil {
			return "", usageErrorf(
				"",
				"invalid time %.40q: want a duration from now such as +36h or +3d",
				s,
			)
		}
		return now.Add(d).UTC().Format(time.RFC3339), nil
	}
	return s, nil
}

// isTimeDueNow reports whether money moves at once at the time s. It returns
// false for an invalid time, which the API rejects.
func isTimeDueNow(s, zone string, now time.Time) bool {
	if s == "" {
		return false
	}
	t, err := hold.ParseTime("", s, zone)
	return err == nil && !t.After(now.Add(dueNowTolerance))
}

// dueNowTolerance is how far ahead a time still counts as now.
const dueNowTolerance = 5 * time.Second
