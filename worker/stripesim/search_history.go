package stripesim

import (
	"maps"
	"slices"
	"time"
)

// maxSearchHistory bounds the snapshots of an intent. Of more changes within
// one search lag, search misses some.
const maxSearchHistory = 32

// searchSnapshot is an intent as search knows it from at on.
type searchSnapshot struct {
	at       time.Time
	status   string
	metadata map[string]string
}

// searchHistory is what search knows of an intent, oldest first. Search is
// behind by the search lag.
type searchHistory []searchSnapshot

func (h *searchHistory) record(s searchSnapshot) {
	old := *h
	if n := len(old); n > 0 && old[n-1].status == s.status &&
		maps.Equal(old[n-1].metadata, s.metadata) {
		return
	}
	if len(old) >= maxSearchHistory {
		old = slices.Delete(old, 1, 2)
	}
	*h = append(old, s)
}

// at returns the snapshot as of t, or nil if search does not know the intent
// yet. It drops older snapshots.
func (h *searchHistory) at(t time.Time) *searchSnapshot {
	i := len(*h) - 1
	for i >= 0 && (*h)[i].at.After(t) {
		i--
	}
	if i < 0 {
		return nil
	}
	if i > 0 {
		*h = append((*h)[:0:0], (*h)[i:]...)
	}
	return &(*h)[0]
}
