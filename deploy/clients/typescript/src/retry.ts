import { UnreachableError } from "./errors.js";

export interface RetryOptions {
  /** Attempts of one request, the first included. Default: 4. */
  maxAttempts?: number;
  /** Milliseconds that one attempt may take. Default: 30000. */
  timeoutMs?: number;
  /** Default: the global fetch. */
  fetch?: (request: Request) => Promise<Response>;
}

const firstDelayMs = 250;
const maxDelayMs = 8_000;
/** A longer Retry-After is the caller's decision. */
const maxRetryAfterMs = 60_000;

/**
 * Returns a fetch that repeats requests. A request that got no answer may have taken effect, so only
 * those are repeated that take effect once: a change with If-Match would be told that it is outdated.
 */
export function createRetryingFetch(options: RetryOptions): (request: Request) => Promise<Response> {
  const send = options.fetch ?? ((request: Request) => fetch(request));
  const maxAttempts = Math.max(1, options.maxAttempts ?? 4);
  return async (original) => {
    const request = await withIdempotencyKey(original);
    const attempts = isRepeatable(request) ? maxAttempts : 1;
    for (let attempt = 1; ; attempt++) {
      const timeout = AbortSignal.timeout(options.timeoutMs ?? 30_000);
      let delay = backoffMs(attempt);
      try {
        const response = await readWhole(
          await send(new Request(request.clone(), { signal: AbortSignal.any([original.signal, timeout]) })),
        );
        const wait = retryDelayMs(response, delay);
        if (wait === undefined || attempt >= attempts) return response;
        delay = wait;
      } catch (error) {
        if (original.signal.aborted) throw error;
        if (attempt >= attempts) throw new UnreachableError(original.url, error);
      }
      await sleep(delay, original.signal);
    }
  };
}

/** Reads the body. A response whose body is cut off is no answer. */
async function readWhole(response: Response): Promise<Response> {
  const { status, statusText, headers } = response;
  const body = await response.text();
  if (response.ok && body !== "" && headers.get("Content-Type")?.startsWith("application/json")) JSON.parse(body);
  if (status < 200) return response; // a redirect, in a browser
  return new Response(body === "" ? null : body, { status, statusText, headers });
}

/** Adds a key to a POST that has none, so that a repeated request takes effect once. */
async function withIdempotencyKey(original: Request): Promise<Request> {
  if (original.method !== "POST" || original.headers.has("Idempotency-Key")) return original;
  const headers = new Headers(original.headers);
  headers.set("Idempotency-Key", crypto.randomUUID());
  const body = await original.text();
  return new Request(original.url, {
    method: "POST",
    headers,
    redirect: "manual",
    ...(body === "" ? {} : { body }),
  });
}

function isRepeatable(request: Request): boolean {
  return request.method !== "PATCH" || !request.headers.has("If-Match");
}

/** Returns how long to wait before a repetition; undefined: the answer is final. */
function retryDelayMs(response: Response, delay: number): number | undefined {
  const wait = parseRetryAfterMs(response.headers.get("Retry-After"));
  switch (response.status) {
    case 409: // in_progress alone says when to come back
      if (wait === undefined) return undefined;
      break;
    case 429:
    case 502:
    case 503:
    case 504:
      break;
    default:
      return undefined;
  }
  if (wait === undefined) return delay;
  return wait > maxRetryAfterMs ? undefined : Math.max(delay, wait);
}

/** Returns the milliseconds of a Retry-After, which has seconds or a date; undefined: it has neither. */
function parseRetryAfterMs(header: string | null): number | undefined {
  if (header === null) return undefined;
  if (/^\d+$/.test(header)) return Number(header) * 1000;
  const date = parseHttpDate(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

/** Parses the three forms of a date in RFC 9110; Date.parse reads others as well, such as "1.5". */
function parseHttpDate(header: string): number {
  if (/^[A-Z][a-z]+, .* GMT$/.test(header)) return Date.parse(header);
  // The form of asctime has no zone and means GMT: Sun Nov  6 08:49:37 1994.
  const isAsctime = /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}$/.test(header);
  return isAsctime ? Date.parse(header + " GMT") : NaN;
}

/** Returns a random delay below an exponential bound, so that clients do not come back together. */
function backoffMs(attempt: number): number {
  return Math.random() * Math.min(maxDelayMs, firstDelayMs * 2 ** attempt);
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", abort);
      resolve();
    }, ms);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}
