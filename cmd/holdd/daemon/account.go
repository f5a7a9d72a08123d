package daemon

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

const (
	accountTimeout = 5 * time.Second // for Stripe's answer at the start
	// accountRetryInterval is how often the account is asked for while Stripe
	// does not answer.
	accountRetryInterval = 30 * time.Second
)

// accountChecker checks that the Stripe key is of the account whose holds are
// in Redis. Stripe accepts a key of another account, and then finds none of the
// PaymentIntents.
type accountChecker struct {
	stripe *gateway.Gateway
	store  *store.Store
	log    *zap.Logger
	known  atomic.Bool // the key is of the recorded account
}

// checkOrRecordAccount records the account of the key in Redis, or compares it
// with the recorded one. done is false if Stripe did not answer.
func (c *accountChecker) checkOrRecordAccount(ctx context.Context) (done bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, accountTimeout)
	defer cancel()
	id, a := c.stripe.RetrieveAccountID(bounded)
	switch a.Kind {
	case hold.AnswerOK:
		err := c.store.RecordOrCheckAccount(bounded, id)
		c.known.Store(err == nil)
		return true, err
	case hold.AnswerForbidden, hold.AnswerNotFound, hold.AnswerInvalid:
		c.log.Warn("the Stripe key may not read its account, so holdd cannot tell "+
			"whether it is the account of the holds in Redis; grant it the permission to read accounts",
			zap.Stringer("answer", a.Kind), zap.String("request_id", a.RequestID))
		return true, nil
	}
	return false, nil
}

// checkOrRecordAccountOfNewKey is [accountChecker.checkOrRecordAccount] for a key that
// is to replace one. Stripe must accept it.
func (c *accountChecker) checkOrRecordAccountOfNewKey(ctx context.Context) (done bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, accountTimeout)
	defer cancel()
	if _, a := c.stripe.RetrieveAccountID(bounded); a.Kind == hold.AnswerUnauthorized {
		return true, errors.New("invalid Stripe key: Stripe rejects it; set a valid one")
	}
	return c.checkOrRecordAccount(ctx)
}

// retryCheckUntilAnswered checks again until Stripe answers, and returns the
// error of a wrong account.
func (c *accountChecker) retryCheckUntilAnswered(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(accountRetryInterval):
		}
		done, err := c.checkOrRecordAccount(ctx)
		if store.IsInvalidSetting(err) {
			return err
		}
		if done && err == nil {
			return nil
		}
	}
}
