// Package changes tells the loops of a replica when it is worth polling Redis.
//
// The store counts the changes of each partition. A [Watcher] reads the
// counters and the length of the inbox once a second in one round trip. After
// ten seconds without a change it reads them every two seconds. Each loop that
// polls Redis has a [PollGate]. After a poll that found nothing to do, the loop
// closes its gate until the next time that the poll told. The gate opens at that
// time, when any replica has changed the partition, and at the latest after the
// longest wait. An idle replica therefore sends few commands. It wakes itself
// for the holds that it accepts, so they are not late.
//
// # Invariants
//
// A loop calls [PollGate.BeginPoll] before it polls, and closes the gate with what
// it got there. So a change during the poll opens the gate again.
//
// A poll that failed does not close the gate. While Redis fails, the counters
// cannot be read and every gate is open: each loop polls at its own pace, as
// without a gate, and reports its errors.
//
// A gate has no loop of its own. Cron or the caller's waits set the pace, so a
// time in the past, which no poll removes, costs one poll a tick.
//
// # What it does not do
//
// It does not know what is due. A change that raises no counter, such as one by
// an older release, is found after the longest wait.
package changes
