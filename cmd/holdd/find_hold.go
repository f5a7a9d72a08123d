package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// findHold returns the hold with this id or reference.
func findHold(ctx context.Context, client *api.Client, name string) (hold.View, error) {
	id, err := resolveHoldIDOrReference(ctx, client, name)
	if err != nil {
		return hold.View{}, err
	}
	return client.Get(ctx, id)
}

// resolveHoldIDOrReference returns the id of the hold with this id or reference. Open holds
// have precedence, because a booking may have had others before.
func resolveHoldIDOrReference(ctx context.Context, client *api.Client, name string) (string, error) {
	if strings.HasPrefix(name, "pi_") {
		return name, nil
	}
	if name == "" {
		return "", usageErrorf("", "the hold is empty: give its id (pi_…) or its reference")
	}
	var open, settled []string
	seen := 0
	query := api.ListQuery{Reference: name, Limit: api.MaxPageSize}
	for v, err := range client.ListAll(ctx, query) {
		if err != nil {
			return "", err
		}
		if seen++; seen > 10*api.MaxPageSize {
			return "", usageErrorf("give the hold's id (pi_…)",
				"too many holds have references that begin with %s", sanitize(name))
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
			hint: "holdd list --reference PREFIX lists references that begin with PREFIX"}
	case 1:
		return found[0], nil
	}
	return "", usageErrorf("give the id of one: "+strings.Join(found[:min(len(found), 10)], " "),
		"%d holds have the reference %s", len(found), sanitize(name))
}

// completeHolds offers the ids and references of holds, if the daemon answers
// within a second.
func (c *connectionFlags) completeHolds(
	cmd *cobra.Command, args []string, typed string,
) (out []string, _ cobra.ShellCompDirective) {
	views := c.listCompletionHolds(cmd.Context(), args, typed)
	for i := range views {
		v := &views[i]
		if v.SettledAt != nil && cmd.Name() != "show" {
			continue
		}
		description := sanitize(v.State + " " + formatHoldAmount(v))
		if v.Reference != "" && strings.HasPrefix(v.Reference, typed) &&
			v.Reference == sanitize(v.Reference) {
			out = append(out, v.Reference+"\t"+description)
		}
		if typed != "" && strings.HasPrefix(v.ID, typed) || v.Reference == "" {
			out = append(out,
				v.ID+"\t"+strings.TrimSpace(sanitize(v.Reference)+" "+description))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (c *connectionFlags) listCompletionHolds(
	ctx context.Context, args []string, typed string,
) []hold.View {
	client, err := c.newClient()
	if len(args) > 0 || err != nil {
		return nil
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	query := api.ListQuery{Limit: api.MaxPageSize}
	if !strings.HasPrefix("pi_", typed) && !strings.HasPrefix(typed, "pi_") {
		query.Reference = typed
	}
	page, err := client.List(ctx, query)
	if err != nil {
		return nil
	}
	return page.Holds
}

// requireOneHoldArg checks the argument of commands about one hold.
func requireOneHoldArg(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("give one hold: its id (pi_…) or its reference")
	}
	return nil
}
