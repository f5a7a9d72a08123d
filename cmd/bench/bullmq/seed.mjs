// Adds a delayed job for each hold of a file, many at a time, and tells how many milliseconds that took.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(process.env.BENCH_MODULES + '/');
const { Queue } = require('bullmq');

const [host, port] = process.env.BENCH_REDIS.split(':');
const holds = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const queue = new Queue('captures', { connection: { host, port: Number(port) } });
await queue.waitUntilReady();

const batch = 500;
const callers = 4;
let next = 0;
const began = performance.now();
await Promise.all(
  Array.from({ length: callers }, async () => {
    while (next < holds.length) {
      const from = next;
      next += batch;
      await queue.addBulk(
        holds.slice(from, from + batch).map(({ at, data }) => ({
          name: 'capture',
          data,
          opts: { jobId: data.payment_intent, delay: Math.max(0, at - Date.now()), attempts: 25, backoff: { type: 'exponential', delay: 1000 }, removeOnComplete: true },
        })),
      );
    }
  }),
);
console.log(performance.now() - began);
await queue.close();
process.exit(0);
