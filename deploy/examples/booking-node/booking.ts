// A booking service that holds money on its guests' cards with holdd. Copy it with holdd's client,
// and replace the files of bookings by your database.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { join } from "node:path";

import {
  CallbackError,
  createClient,
  HolddError,
  unwrap,
  verifyCallback,
  type Authorization,
  type Event,
} from "./holdd/index.js";

const env = (name: string, fallback?: string): string => {
  const value = process.env[name] || fallback;
  if (value) return value;
  console.error(`${name} is not set: see README.md`);
  process.exit(1);
};
const holdd = createClient({ baseUrl: env("HOLDD_URL"), token: process.env.HOLDD_TOKEN });
const callbackSecret = env("HOLDD_CALLBACK_SECRET");
const folder = env("BOOKINGS", "bookings");
const maxBody = 1 << 20;
const finalStates = ["captured", "canceled", "expired", "attention"];

/** What the website sends. Amounts are in minor units. */
interface CardRequest {
  payment_method?: string;
  amount: number;
  currency: string;
  checkout_at: string;
}

interface Booking {
  reference: string;
  status: string;
  hold?: string;
  captured: number;
  message?: string;
  attempts: number;
  request?: CardRequest; // of the last attempt
  events: string[]; // ids of callbacks that were applied
}

const fileOf = (reference: string): string => join(folder, encodeURIComponent(reference) + ".json");

function find(reference: string): Booking {
  try {
    return JSON.parse(readFileSync(fileOf(reference), "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  return { reference, status: "new", captured: 0, attempts: 0, events: [] };
}

/** Changes a booking in one step: in a database, a transaction. */
function update(reference: string, change: (booking: Booking) => void): Booking {
  const booking = find(reference);
  change(booking);
  const file = fileOf(reference);
  writeFileSync(file + ".new", JSON.stringify(booking), { flush: true }); // fsync, from Node 20.10 on
  renameSync(file + ".new", file); // a power cut leaves the old file or the new one
  return booking;
}

/**
 * Holds the amount and schedules its capture, in one request to holdd. Returns the secret for Stripe.js
 * in the guest's browser as well, which is not stored.
 */
async function authorize(reference: string, request: CardRequest) {
  // Stored before the call. While an outcome is unknown, the attempt is repeated.
  const attempt = update(reference, (booking) => {
    if (booking.status === "pending") return;
    Object.assign(booking, { status: "pending", request, attempts: booking.attempts + 1 });
  });
  let result: Partial<Booking>;
  let client_secret: string | undefined;
  try {
    const answer = await sendAttempt(attempt, attempt.request ?? request);
    client_secret = answer.client_secret;
    result = { status: answer.status, hold: answer.id, message: undefined };
  } catch (error) {
    if (!(error instanceof HolddError)) throw error;
    result = { message: error.detail };
    if (error.code === "card_declined" || error.code === "authorization_abandoned") {
      Object.assign(result, { status: "declined", hold: error.problem?.payment_intent });
    } else if (!error.outcomeUnknown) {
      result.status = "refused";
    }
  }
  const booking = update(reference, (booking) => {
    // A callback may be faster.
    if (booking.status === "pending" && booking.attempts === attempt.attempts) Object.assign(booking, result);
  });
  return { ...booking, client_secret };
}

/** Repeats an attempt with the same key, so that holdd acts once. */
function sendAttempt(attempt: Booking, request: CardRequest): Promise<Authorization> {
  const header = { "Idempotency-Key": `${attempt.reference}-card-${attempt.attempts}` };
  const { payment_method, amount, currency, checkout_at } = request;
  if (attempt.hold) {
    // After the bank's dialog, or for another card.
    const params = { header, path: { id: attempt.hold } };
    return unwrap(holdd.POST("/v1/authorizations/{id}/confirm", { params, body: { payment_method } }));
  }
  const terms = { capture_at: checkout_at, on_expiry: "capture", reference: attempt.reference };
  const body = { payment_method: payment_method ?? "", amount, currency, ...terms };
  return unwrap(holdd.POST("/v1/authorizations", { params: { header }, body }));
}

/** Captures or releases now. A callback reports the outcome. */
async function settle(booking: Booking, id: string, action: string, body: { amount?: number }) {
  const params = { path: { id } };
  try {
    if (action === "capture") await unwrap(holdd.POST("/v1/holds/{id}/capture", { params, body }));
    else await unwrap(holdd.POST("/v1/holds/{id}/cancel", { params }));
  } catch (error) {
    if (!(error instanceof HolddError)) throw error;
    booking.message = error.detail;
  }
}

/** Applies an event once. holdd keeps the order of a hold's events. */
function applyEvent(event: Event): void {
  const hold = event.data.hold;
  if (!hold?.reference || find(hold.reference).attempts === 0) return; // of another system
  update(hold.reference, (booking) => {
    if (booking.events.includes(event.id)) return;
    booking.events.push(event.id);
    booking.status = finalStates.includes(hold.state) ? hold.state : "authorized";
    booking.hold = hold.id;
    booking.captured = hold.captured_amount ?? 0;
  });
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    chunks.push(chunk);
    if ((size += chunk.length) > maxBody) throw new Error("the body is too large");
  }
  return Buffer.concat(chunks);
}

/** Returns the status and the value of the answer. */
async function serve(request: IncomingMessage): Promise<[number, unknown]> {
  const body = await readBody(request);
  if (request.method === "POST" && request.url === "/holdd-events") {
    applyEvent(await verifyCallback(body, request.headers, { secret: callbackSecret }));
    return [200, {}]; // holdd repeats an event until it gets a 2xx answer
  }
  const path = /^\/bookings\/([\w-]+)(?:\/(card|capture|cancel))?$/.exec(request.url ?? "");
  const [reference, action] = path?.slice(1) ?? [];
  if (!reference) return [404, {}];
  const booking = find(reference);
  if (request.method !== "POST" || !action) return [200, booking];
  const details = JSON.parse(String(body) || "{}");
  if (action !== "card") {
    if (booking.hold) await settle(booking, booking.hold, action, details);
  } else if (!["authorized", ...finalStates].includes(booking.status)) {
    return [200, await authorize(reference, details)];
  }
  return [200, booking];
}

const server = createServer((request, response) => {
  serve(request)
    .catch((error): [number, unknown] => {
      const isWrong = error instanceof CallbackError || error instanceof SyntaxError;
      return [isWrong ? 400 : 500, { error: String(error) }];
    })
    .then(([status, value]) => {
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(JSON.stringify(value));
    });
});
mkdirSync(folder, { recursive: true });
const [host, port] = env("LISTEN", "127.0.0.1:3000").split(":");
server.listen(Number(port), host, () => console.log(`listening on http://${host}:${port}`));
