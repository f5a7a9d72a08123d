// Package worker is the engine: it captures and releases holds on time, each
// exactly once.
//
// # How a hold travels
//
//	api         schedule.go decodes POST /v1/holds into a hold.ScheduleRequest
//	intake      Scheduler.Schedule validates it, reads Stripe if it lacks amount, currency or
//	            deadline and the budget allows, and makes a Decision
//	commit      Committer.CommitWithRetry encodes the events, writes, logs, counts, wakes the dispatcher
//	store       commit.lua writes the record and its events, on the expected version only
//	worker      [Dispatcher] promotes due holds (promote.lua), reserves budget (reserve.lua) and
//	            claims by nearest deadline (claim.lua, which makes a hold working), for all
//	            accounts at once
//	worker      [Executor] drives a claimed hold with execute.MachineDriver.Drive: hold.NextCall,
//	            gateway.Caller.Do (which calls gateway.Gateway.Do), hold.ApplyAnswer
//	worker      [Completer] commits outcomes in batches, with the same Committer, and keeps them
//	            while Redis is unavailable
//	alert       Notifier, started beside the worker, reads the event stream and delivers to each sink
//
// The dispatcher sends claims to the executor over a channel, and the executor
// sends outcomes to the completer over another. A committed decision wakes the
// dispatcher through [Dispatcher.Wake] if its hold is due soon. Each stage is
// one struct with its own options and a narrow interface to the store. No stage
// calls an earlier one, except to wake the dispatcher, and none has a pointer
// to the [Engine].
//
// Package hold decides what happens to a hold, package commit writes each
// decision, and package gateway sends each call to Stripe. [New] connects the
// stages with the jobs and the other parts.
//
// # Why cron only allows promotion
//
// Cron fires once a second, which alone would make a capture up to a second
// late. The capture job therefore allows promotion until the next tick, and the
// dispatcher waits for each hold's exact time. The capture schedule may be a
// window, such as TZ=Europe/Paris */5 9-18 * * *. Scheduled holds are then
// promoted only within it. Deadlines, requests, and holds whose outcome is
// unknown do not wait for the window.
//
// # When nothing is due
//
// The store counts the changes of each partition, and a replica reads all
// counters once a second in one command. A job polls Redis only if a partition
// has changed, at the time that its last poll told, and every 15 seconds. So an
// idle replica sends few commands, as package changes describes. A job that
// finds work, or whose poll fails, polls again at its next tick.
//
// # Many accounts
//
// Each account has budgets of its own, so ready holds wait in lanes, one for
// each account and kind of request. A pass of the dispatcher divides what may
// be claimed into equal parts, the lanes with the nearest deadlines first. It
// reserves all budgets in one round trip and claims all holds in another. A
// lane without budget waits, and the next polls do not list it, so that it does
// not hide the lanes behind it.
//
// # Jobs
//
//	capture     allows promotion of due holds
//	expiry      warns, applies on_expiry, makes holds past their deadline due for a read
//	report      heartbeat, counts, conditions, dead replicas, capacity, data loss in Redis
//	purge       deletes settled holds after their retention
//	reconcile   compares both ways with Stripe; one replica at a time
//	verify      reads the intents of unverified holds; probes an unavailable Stripe
//	resume      resumes unfinished attempts to authorize
//	refresh     reads the intents that webhooks queued
//	inbox       schedules requests from the Redis inbox
//	mirror      writes terms to intents' metadata
//	redis_check repeats the checks of Redis' settings
//
// Cron skips a tick while the job's last run continues. A panic ends one run
// and is logged.
//
// # Failures
//
//   - The process dies at any line. Its leases end, and another replica claims
//     the holds and knows that a call may have been sent. It sends the same
//     request under the same key or reads the intent, as package hold decides.
//   - The process is suspended and resumes with an old lease. Before each call
//     it checks that the lease outlasts the call's timeout. A later commit
//     fails on the version. If the process is suspended between that check and
//     the send, the late request finds its key answered or the intent final.
//   - Redis is unavailable. Claims stop. The completer keeps outcomes and
//     commits them when Redis is back. Requests fail with
//     health.ErrUnavailable.
//   - Stripe is unavailable. After five calls in a row without an answer the
//     circuit breaker opens. Claimed holds are released unchanged. One call
//     every few seconds tests Stripe.
//   - Stripe rejects the key. Claims stop. The verify job tests the key.
//   - Stripe answers 429. All replicas lower the rate of this account's calls
//     of this kind, which rises again with its use.
//   - Redis answers and rejects what a stage needs. The stage records its
//     successes in health.Stage. After 30 seconds without one, readiness and an
//     alert name the stage and the cause.
//   - The key is of another account. After 20 intents that Stripe does not find,
//     a 404 counts as a 403 until Stripe finds one.
//   - The worker stops. Claims stop, calls under way get the grace time, and
//     claimed holds without a call return to the ready lanes.
//
// # Bounds
//
// At most twice the concurrency of claims await Stripe, and four times the
// concurrency are uncommitted. A claim makes at most four calls. A job reads
// 256 holds of a partition at a time. A poll lists 256 lanes of a partition. A
// replica remembers 8,192 lanes without budget; it may list further ones again.
//
// # What it does not do
//
// It imports neither Redis, stripe-go nor HTTP. It decides nothing about a
// hold.
package worker
