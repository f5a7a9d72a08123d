package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
)

// What is ready is read by deadline over all lanes and partitions, in pages, and nothing else is among it.
func TestPagesOfWhatIsReady(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 5} {
		e := onReal(t, store.Options{Partitions: partitions})
		if got := e.walk(hold.SetReady, hold.Position{}, 7, nil); len(got) != 0 {
			t.Errorf("an empty store: %v", got)
		}
		var want []string
		for i := range 100 {
			id := fmt.Sprintf("pi_%03d", i)
			want = append(want, id)
			e.put(ready(id, []hold.Op{hold.OpCapture, hold.OpCancel}[i%2], []string{"", "acct_a", "acct_b"}[i%3], dead.Add(time.Duration(i)*time.Minute)))
		}
		e.put(scheduled("pi_later", later, later.Add(time.Hour)))
		for _, n := range []int{1, 7, 256} {
			if got := e.walk(hold.SetReady, hold.Position{}, n, nil); !slices.Equal(got, want) {
				t.Errorf("%d partitions, pages of %d: %v", partitions, n, got)
			}
		}
	}
}
