package reconcile

import (
	"maps"
	"slices"
	"sync"
)

// maxAccounts bounds how many connected accounts a replica remembers.
const maxAccounts = 1000

// KnownAccounts are the connected accounts that this replica has met since it
// started. An emptied Redis names none, so the replica must know which accounts
// to compare. Its zero value is empty. It has a mutex of its own, so that
// committing a change never waits for a comparison.
type KnownAccounts struct {
	mu       sync.Mutex
	accounts map[string]bool
}

// Add remembers an account. An empty account is the platform's own, which is
// always compared.
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
