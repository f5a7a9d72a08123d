package simtest

import "time"

// snapshotPlan is a world in which the events of charges arrive late and in any
// order, and another system changes the amount of each hold after its time at.
func snapshotPlan(change plannedAction, w intakePlan, unread time.Duration) plan {
	w.enabled, w.webhooks, w.chargeWebhooks = true, true, true
	var all []plannedHold
	for n := range 10 {
		all = append(all, plannedHold{number: n + 1, placedAt: 5*time.Second +
			time.Duration(n)*time.Millisecond, scheduledAt: 6*time.Second +
			time.Duration(n)*time.Millisecond, authorizationWindow: 25 * time.Minute, amount: 5000,
			currency: "eur", action: "capture", dueAt: 20 * time.Minute, multi: true,
			actions: []plannedAction{change}})
	}
	p := quietPlan(5*time.Second, w, all...)
	if unread > 0 {
		return p.withFaults(fault{number: 1, kind: "stripe:dial", atCall: "read",
			from: 5 * time.Second, to: unread, probability: 1, replicaIndex: -1})
	}
	return p
}

// mirrorReplicasPlan is a world in which three replicas find the same terms to
// mirror at the same time.
func mirrorReplicasPlan() plan {
	var all []plannedHold
	for n := range 10 {
		all = append(all, plannedHold{number: n + 1, placedAt: 5 * time.Second,
			scheduledAt: 6 * time.Second, authorizationWindow: 10 * time.Minute, amount: 5000,
			currency: "eur", action: "capture", dueAt: 3 * time.Minute})
	}
	p := quietPlan(5*time.Second, intakePlan{enabled: true, mirrorInterval: 5 * time.Second}, all...)
	p.replicas = 3
	return p
}

func incrementDuringListPlan() plan {
	p := quietPlan(5*time.Second, intakePlan{enabled: true, webhooks: true,
		reconcileInterval: time.Minute}, plannedHold{number: 1, placedAt: 5 * time.Second,
		scheduledAt: 6 * time.Second, authorizationWindow: 30 * time.Minute, amount: 5000,
		currency: "eur", action: "capture",
		dueAt: 20 * time.Minute, actions: []plannedAction{{number: 1, at: 61 * time.Second,
			kind: "dashboard increment", amount: 9000}, {number: 2, at: 66 * time.Second,
			kind: "patch amount", amount: 8000}}})
	return p.withFaults(fault{number: 1, kind: "stripe:slow reply", atCall: "list",
		from: 55 * time.Second, to: 66 * time.Second, probability: 1, replicaIndex: -1})
}
