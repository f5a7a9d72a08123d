// A booking service that holds money on its guests' cards with holdd. It needs
// Node 18 or newer and no packages at run time. Copy it, and replace the map of
// bookings by your database.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const env = (name: string): string => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
};
const holddUrl = env("HOLDD_URL");
const secret = Buffer.from(env("HOLDD_CALLBACK_SECRET").replace(/^whsec_/, ""), "base64");
const token = process.env.HOLDD_TOKEN;
const maxBody = 1 << 20;
const tries = 5; // of one request to holdd
const toleranceSeconds = 300; // of a callback's timestamp

interface Booking {
  reference: string;
  status: string; // new, pending, declined, requires_action, held, captured, …
  cards: number; // that were tried
  hold?: string;
  captured: number; // in minor units, as all amounts
  message?: string;
  client_secret?: string; // for Stripe.js in the guest's browser
}

interface Answer {
  id?: string;
  status?: string;
  code?: string;
  detail?: string;
  client_secret?: string;
  payment_intent?: string;
}

interface HoldEvent {
  data: { hold?: { id: string; reference?: string; state: string; captured_amount?: number } };
}

const bookings = new Map<string, Booking>();
const seen = new Set<string>(); // ids of callbacks; in a database, a unique column

class UnknownOutcome extends Error {}

// Posts to holdd. It repeats the request with the same key while the outcome is
// unknown, so that holdd acts once.
async function call(path: string, key: string, body: object): Promise<Answer> {
  const headers: Record<string, string> = {
    "Content-Type": "application/json",
    "Idempotency-Key": key,
  };
  if (token) headers.Authorization = `Bearer ${token}`;
  let reason: unknown;
  for (let attempt = 0; attempt < tries; attempt++) {
    if (attempt > 0) await sleep(1000 * 2 ** (attempt - 1));
    try {
      const response = await fetch(holddUrl + path, {
        method: "POST",
        headers,
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(30_000),
      });
      const answer = (await response.json()) as Answer;
      if (response.ok) return answer;
      reason = `holdd answers ${response.status} ${answer.code}`;
      const passing = response.status >= 500 || response.status === 429;
      if (!passing && answer.code !== "in_progress") return { ...answer, status: "declined" };
    } catch (error) {
      reason = error; // no answer, or a broken one
    }
  }
  throw new UnknownOutcome(String(reason));
}

// Holds the amount and schedules its capture, in one request. After the bank's
// dialog, or for another card, it confirms the same authorization.
async function authorize(booking: Booking, request: Record<string, unknown>): Promise<void> {
  // A repeat of an unknown outcome keeps its key.
  if (booking.status !== "pending") booking.cards++;
  booking.status = "pending"; // to be stored before the call
  const { payment_method, amount, currency, checkout_at } = request;
  const key = `${booking.reference}-card-${booking.cards}`;
  const first = {
    payment_method,
    amount,
    currency,
    capture_at: checkout_at,
    on_expiry: "capture",
    reference: booking.reference,
  };
  const answer = booking.hold
    ? await call(`/v1/authorizations/${booking.hold}/confirm`, key, { payment_method })
    : await call("/v1/authorizations", key, first);
  booking.status = answer.status === "authorized" ? "held" : (answer.status ?? "pending");
  booking.message = answer.detail;
  booking.client_secret = answer.client_secret;
  booking.hold = answer.id ?? answer.payment_intent ?? booking.hold;
}

async function act(booking: Booking, action: string, request: Record<string, unknown>) {
  try {
    if (action !== "card" && booking.hold) {
      // A callback tells the outcome.
      const path = `/v1/holds/${booking.hold}/${action}`;
      booking.message = (await call(path, `${booking.reference}-${action}`, request)).detail;
    } else if (action === "card" && booking.status !== "held" && booking.captured === 0) {
      await authorize(booking, request);
    }
  } catch (error) {
    if (!(error instanceof UnknownOutcome)) throw error;
    booking.message = error.message; // a repeat or a callback tells
  }
}

// Checks a signature of Standard Webhooks.
function isSigned(headers: IncomingMessage["headers"], body: Buffer): boolean {
  const id = String(headers["webhook-id"]);
  const sent = String(headers["webhook-timestamp"]);
  if (!(Math.abs(Date.now() / 1000 - Number(sent)) <= toleranceSeconds)) return false;
  const hmac = createHmac("sha256", secret).update(`${id}.${sent}.`).update(body);
  const want = Buffer.from("v1," + hmac.digest("base64"));
  return String(headers["webhook-signature"])
    .split(" ")
    .map((signature) => Buffer.from(signature))
    .some((given) => given.length === want.length && timingSafeEqual(given, want));
}

// Applies an event. holdd keeps the order of a hold's events, and repeats an
// event until it gets a 2xx answer.
function applyEvent(id: string, event: HoldEvent): void {
  const hold = event.data.hold;
  const booking = bookings.get(hold?.reference ?? "");
  if (hold && booking && !seen.has(id)) {
    const final = ["captured", "canceled", "expired", "attention"];
    booking.status = final.includes(hold.state) ? hold.state : "held";
    booking.hold = hold.id;
    booking.captured = hold.captured_amount ?? 0;
  }
  seen.add(id);
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

// Returns the status and the value of the answer.
async function serve(request: IncomingMessage): Promise<[number, unknown]> {
  const body = await readBody(request);
  if (request.method === "POST" && request.url === "/holdd-events") {
    if (!isSigned(request.headers, body)) return [401, { error: "invalid signature" }];
    applyEvent(String(request.headers["webhook-id"]), JSON.parse(String(body)));
    return [200, {}];
  }
  const [, reference, action] =
    /^\/bookings\/([\w-]+)(?:\/(card|capture|cancel))?$/.exec(request.url ?? "") ?? [];
  if (!reference) return [404, {}];
  const fresh: Booking = { reference, status: "new", cards: 0, captured: 0 };
  const booking = bookings.get(reference) ?? fresh;
  if (request.method === "POST" && action) {
    bookings.set(reference, booking);
    await act(booking, action, JSON.parse(String(body) || "{}"));
  }
  return [200, booking];
}

const server = createServer((request, response) => {
  serve(request)
    .catch((error): [number, unknown] => [400, { error: String(error) }])
    .then(([status, value]) => {
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(JSON.stringify(value));
    });
});
const [host, port] = (process.env.LISTEN ?? "127.0.0.1:3000").split(":");
server.listen(Number(port), host, () => {
  console.log(`listening on http://${host}:${(server.address() as AddressInfo).port}`);
});
