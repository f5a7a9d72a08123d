package reconcile

import (
	"maps"
	"slices"
	"sync"
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
