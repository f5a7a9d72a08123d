package reconcile

// maxListedHolds is how many listed intents one run remembers.
const maxListedHolds = 1 << 20

// listedIntentIDs are the PaymentIntents that a list contained and that have a hold.
type listedIntentIDs struct {
	intents   map[string]struct{}
	truncated bool // there were more than maxListedHolds
}

func (l *listedIntentIDs) add(intent string) {
	if len(l.intents) >= maxListedHolds {
		l.truncated = true
		return
	}
	if l.intents == nil {
		l.intents = map[string]struct{}{}
	}
	l.intents[intent] = struct{}{}
}

func (l *listedIntentIDs) has(intent string) bool {
	_, ok := l.intents[intent]
	return ok
}
