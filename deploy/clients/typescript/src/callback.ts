import type { components } from "./schema.js";

type Event = components["schemas"]["Event"];

/** A callback that holdd did not send, or that is too old. Answer it with 400. */
export class CallbackError extends Error {
  override name = "CallbackError";
}

export interface CallbackOptions {
  /** `callback_secret`: whsec_ and base64. While it is changed, give both. */
  secret: string | readonly string[];
  /** How far the timestamp may be off. Default: 300. */
  toleranceSeconds?: number;
  /** The current time in milliseconds. Default: Date.now(). */
  now?: number;
}

/**
 * Verifies a callback as Standard Webhooks describe it, and returns its event. `body` is the body as it
 * arrived, not parsed and encoded again. The caller ignores an event whose `id` it has seen.
 */
export async function verifyCallback(
  body: string | Uint8Array,
  headers: Headers | Record<string, string | string[] | undefined>,
  options: CallbackOptions,
): Promise<Event> {
  const id = header(headers, "webhook-id");
  const timestamp = header(headers, "webhook-timestamp");
  const signatures = header(headers, "webhook-signature");
  if (!/^\d{1,12}$/.test(timestamp)) throw new CallbackError("invalid webhook-timestamp");
  const now = (options.now ?? Date.now()) / 1000;
  if (Math.abs(now - Number(timestamp)) > (options.toleranceSeconds ?? 300)) {
    throw new CallbackError("webhook-timestamp is too far from the current time");
  }
  const encoder = new TextEncoder();
  const bytes = typeof body === "string" ? encoder.encode(body) : body;
  const prefix = encoder.encode(`${id}.${timestamp}.`);
  const content = new Uint8Array(prefix.length + bytes.length);
  content.set(prefix);
  content.set(bytes, prefix.length);
  const secrets = typeof options.secret === "string" ? [options.secret] : options.secret;
  for (const secret of secrets) {
    if (await isSigned(content, signatures, secret)) {
      const event = JSON.parse(new TextDecoder().decode(bytes)) as Event;
      if (event.id !== id) throw new CallbackError("webhook-id is not the id of the event");
      return event;
    }
  }
  throw new CallbackError("no signature is valid");
}

async function isSigned(content: Uint8Array<ArrayBuffer>, signatures: string, secret: string): Promise<boolean> {
  const raw = decodeBase64(secret.replace(/^whsec_/, ""));
  if (raw === undefined || raw.length < 16) throw new Error("invalid secret: want whsec_ and base64");
  const key = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  for (const signature of signatures.split(" ").slice(0, 10)) {
    const [version, value] = signature.split(",", 2);
    const decoded = version === "v1" && value !== undefined ? decodeBase64(value) : undefined;
    // verify compares in constant time.
    if (decoded !== undefined && (await crypto.subtle.verify("HMAC", key, decoded, content))) return true;
  }
  return false;
}

function header(headers: Headers | Record<string, string | string[] | undefined>, name: string): string {
  const value = headers instanceof Headers ? headers.get(name) : headers[name];
  if (typeof value !== "string" || value === "") throw new CallbackError(`missing header ${name}`);
  return value;
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  } catch {
    return undefined;
  }
}
