// What a user of BullMQ would run instead of holdd: a worker whose job captures. undici is the fastest client there is in Node.
import { createRequire } from 'node:module';

const require = createRequire(process.env.BENCH_MODULES + '/');
const { Worker, UnrecoverableError } = require('bullmq');
const { Pool } = require('undici');

const [host, port] = process.env.BENCH_REDIS.split(':');
const concurrency = Number(process.env.BENCH_CONCURRENCY);
const stripe = new Pool(process.env.BENCH_STRIPE, { connections: concurrency });
const headers = {
  authorization: 'Bearer sk_test_benchbenchbenchbench',
  'stripe-version': '2023-10-16',
  'content-type': 'application/x-www-form-urlencoded',
};

async function capture(job) {
  const intent = job.data.payment_intent;
  const res = await stripe.request({
    method: 'POST',
    path: `/v1/payment_intents/${intent}/capture`,
    headers: { ...headers, 'idempotency-key': `capture:${intent}` },
  });
  const body = await res.body.json();
  if (res.statusCode === 200 && body.status === 'succeeded') return;
  if (res.statusCode >= 400 && res.statusCode < 500 && res.statusCode !== 429) throw new UnrecoverableError(body.error?.code);
  throw new Error(`answered ${res.statusCode}`);
}

const worker = new Worker('captures', capture, { connection: { host, port: Number(port), maxRetriesPerRequest: null }, concurrency });
worker.on('error', (err) => console.error(err));
await worker.waitUntilReady();
console.log('ready');
process.on('SIGTERM', async () => {
  await worker.close();
  process.exit(0);
});
