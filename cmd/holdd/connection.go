package main

import (
	"context"
	"errors"
	"fmt"
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
	maxTokenFileBytes = 4096 // bytes
)

// connectionFlags is the flags that all commands have which speak to a running
// holdd.
type connectionFlags struct {
	app       *app
	url       string
	tokenFile string
	timeZone  string
	asJSON    bool
}

func (a *app) addConnectionFlags(cmd *cobra.Command) *connectionFlags {
	c := &connectionFlags{app: a}
	f := cmd.Flags()
	f.StringVar(&c.url, "url", "", "address of holdd (HOLDD_URL; default "+defaultURL+")")
	f.StringVar(&c.tokenFile, "token-file", "", "file that holds the token (HOLDD_TOKEN_FILE)")
	f.StringVar(&c.timeZone, "time-zone", "",
		"zone of local times, shown and given, such as Europe/Paris (HOLDD_TIME_ZONE; default: shown in this machine's)")
	f.BoolVar(&c.asJSON, "json", false, "for machines: the API's JSON, one object a line")
	_ = cmd.MarkFlagFilename("token-file")
	return c
}

func (c *connectionFlags) newClient() (*api.Client, error) {
	url := c.url
	if url == "" {
		url = c.app.getenv("HOLDD_URL")
	}
	if url == "" {
		url = defaultURL
	}
	token, err := c.readToken()
	if err != nil {
		return nil, err
	}
	client, err := api.NewClient(url, token)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err,
			hint: "give the address with --url or HOLDD_URL, the token with --token-file or HOLDD_TOKEN_FILE"}
	}
	return client.WithClientName("cli"), nil
}

func (c *connectionFlags) readToken() (string, error) {
	path, direct := c.tokenFile, c.app.getenv("HOLDD_TOKEN")
	if path == "" {
		path = c.app.getenv("HOLDD_TOKEN_FILE")
		if path != "" && direct != "" {
			return "", usageErrorf("unset one of them",
				"both HOLDD_TOKEN and HOLDD_TOKEN_FILE are set: which one counts isn't clear")
		}
	}
	if path == "" {
		return direct, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", usageErrorf("give a file with the token alone as --token-file or HOLDD_TOKEN_FILE", "the token file can't be read: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTokenFileBytes+1))
	token := strings.TrimSpace(string(b))
	switch {
	case err != nil:
		return "", usageErrorf("", "the token file can't be read: %w", err)
	case len(b) > maxTokenFileBytes || strings.ContainsAny(token, " \t\r\n"):
		return "", usageErrorf("it has to hold the token alone: the third word of a line of holdd's tokens file", "%s is no token file", path)
	case token == "":
		return "", usageErrorf("", "the token file %s is empty", path)
	}
	return token, nil
}

// timeZoneName is the zone that was asked for, empty if none was.
func (c *connectionFlags) timeZoneName() string {
	if c.timeZone != "" {
		return c.timeZone
	}
	return c.app.getenv("HOLDD_TIME_ZONE")
}

func (c *connectionFlags) newTimeFormatter(now time.Time) (timeFormatter, error) {
	name := c.timeZoneName()
	if name == "" {
		return timeFormatter{time.Local, now}, nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return timeFormatter{},
			usageErrorf("give an IANA name such as Europe/Paris to --time-zone or HOLDD_TIME_ZONE",
				"the time zone %.60q is unknown", name)
	}
	return timeFormatter{loc, now}, nil
}

// parseTimeFlag turns what people write for a time into what the API takes:
// "now" and "+36h" become instants, all else goes through as it is.
func parseTimeFlag(s string, now time.Time) (string, error) {
	s = strings.TrimSpace(s)
	if s == "now" {
		return now.UTC().Format(time.RFC3339), nil
	}
	if span, ok := strings.CutPrefix(s, "+"); ok {
		d, err := api.ParseDuration(span)
		if err != nil {
			return "", usageErrorf("", "%s is no time from now: write +36h or +3d", s)
		}
		return now.Add(d).UTC().Format(time.RFC3339), nil
	}
	return s, nil
}

// isDueNow reports whether a time given to the API means that money moves at
// once. A time that can't be read is left to the API to refuse.
func isDueNow(s, zone string, now time.Time) bool {
	if s == "" {
		return false
	}
	t, err := hold.ParseTime("", s, zone)
	return err == nil && !t.After(now.Add(dueNowTolerance))
}

// dueNowTolerance is how soon "soon" is the same as "now" to the person who is
// asked.
const dueNowTolerance = 5 * time.Second

// getHold gets the hold that a person named, by its id or by its whole
// reference.
func (c *connectionFlags) getHold(
	ctx context.Context, client *api.Client, name string,
) (hold.View, error) {
	id, err := c.resolveHoldID(ctx, client, name)
	if err != nil {
		return hold.View{}, err
	}
	v, err := client.Get(ctx, id)
	return v, addExitCode(err, "")
}

// resolveHoldID turns a reference into the id of the one hold that has it. Open
// holds go first: a booking may have had others before.
func (c *connectionFlags) resolveHoldID(
	ctx context.Context, client *api.Client, name string,
) (string, error) {
	if strings.HasPrefix(name, "pi_") {
		return name, nil
	}
	if name == "" {
		return "", usageErrorf("", "the hold has no name: give its id (pi_…) or its reference")
	}
	var open, settled []string
	seen := 0
	for v, err := range client.ListAll(ctx, api.ListQuery{Reference: name,
		Limit: api.MaxPageSize}) {
		if err != nil {
			return "", addExitCode(err, "")
		}
		if seen++; seen > 10*api.MaxPageSize {
			return "", usageErrorf("give the hold's id (pi_…)",
				"too many holds begin with the reference %s", sanitize(name))
		}
		switch {
		case v.Reference != name:
		case v.SettledAt == nil:
			open = append(open, v.ID)
		default:
			settled = append(settled, v.ID)
		}
	}
	found := open
	if len(found) == 0 {
		found = settled
	}
	switch len(found) {
	case 0:
		return "", &exitError{code: exitNotFound,
			err:  fmt.Errorf("no hold has the id or the reference %q", name),
			hint: "holdd list --reference BEGINNING lists what is near"}
	case 1:
		return found[0], nil
	}
	return "", usageErrorf("give the id of one: "+strings.Join(found[:min(len(found), 10)], " "),
		"%d holds have the reference %s", len(found), sanitize(name))
}

// completeHolds offers ids and references of what the daemon has, if it answers
// at once.
func (c *connectionFlags) completeHolds(
	cmd *cobra.Command, args []string, typed string,
) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	client, err := c.newClient()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	query := api.ListQuery{Limit: api.MaxPageSize}
	if !strings.HasPrefix("pi_", typed) && !strings.HasPrefix(typed, "pi_") {
		query.Reference = typed
	}
	page, err := client.List(ctx, query)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for i := range page.Holds {
		v := &page.Holds[i]
		if v.SettledAt != nil && cmd.Name() != "show" {
			continue
		}
		what := sanitize(v.State + " " + formatHoldAmount(v))
		if v.Reference != "" && strings.HasPrefix(v.Reference, typed) &&
			v.Reference == sanitize(v.Reference) {
			out = append(out, v.Reference+"\t"+what)
		}
		if typed != "" && strings.HasPrefix(v.ID, typed) || v.Reference == "" {
			out = append(out, v.ID+"\t"+strings.TrimSpace(sanitize(v.Reference)+" "+what))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// requireOneHold is the argument of commands about one hold.
func requireOneHold(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("give one hold: its id (pi_…) or its reference")
	}
	return nil
}
