package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/holdd/holdd/worker/hold"
)

// maxAccounts bounds the connected accounts that a replica remembers.
const maxAccounts = 1000

// KnownAccounts are the connected accounts of the holds that this replica has
// read or written since it started. The replica compares them after Redis has
// lost its data. Its zero value is empty. It has its own mutex, so that a
// commit never waits for a comparison.
type KnownAccounts struct {
	mu       sync.Mutex
	accounts map[string]bool
}

// Add adds an account. It ignores the empty account, the platform's own,
// because a run always compares that one.
func (k *KnownAccounts) Add(account string) {
	if account == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.accounts == nil {
		k.accounts = map[string]bool{}
	}
	if len(k.accounts) < maxAccounts {
		k.accounts[account] = true
	}
}

// List returns the accounts in alphabetical order.
func (k *KnownAccounts) List() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.accounts))
}

// accountCollector collects the accounts that a run compares.
type accountCollector struct {
	schedule *scheduleReader
	store    AccountStore
	known    *KnownAccounts
	run      *run
}

// collectAccounts returns the platform's own account, the accounts of open
// holds, and the [KnownAccounts].
func (a *accountCollector) collectAccounts(ctx context.Context) ([]string, error) {
	err := a.schedule.eachOpenHoldPage(ctx, func(page []hold.HoldAtPosition) error {
		for i := range page {
			a.known.Add(page[i].Hold.Account)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return append([]string{""}, a.known.List()...), nil
}

// addNewAccountsToRun adds the accounts that became known since the run began. It
// reports whether there are any.
func (a *accountCollector) addNewAccountsToRun(ctx context.Context) (bool, error) {
	all, err := a.store.ShareKnownAccounts(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("read the known accounts: %w", err)
	}
	for _, account := range all {
		a.known.Add(account)
	}
	before := len(a.run.state.AccountOrder)
	for _, account := range a.known.List() {
		if !slices.Contains(a.run.state.AccountOrder, account) {
			a.run.updateCheckpoint(func(s *runCheckpoint) {
				s.AccountOrder = append(s.AccountOrder, account)
			})
		}
	}
	a.run.updateCheckpoint(func(s *runCheckpoint) { s.Accounts = len(s.AccountOrder) })
	return len(a.run.state.AccountOrder) > before, nil
}
