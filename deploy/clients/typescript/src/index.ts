import createFetchClient, { type Client } from "openapi-fetch";

import { HolddError, UnreachableError, type Problem } from "./errors.js";
import { createRetryingFetch, type RetryOptions } from "./retry.js";
import type { components, paths } from "./schema.js";

export type { paths, components } from "./schema.js";
export { HolddError, UnreachableError, type Problem } from "./errors.js";
export { verifyCallback, CallbackError, type CallbackOptions } from "./callback.js";

type Schemas = components["schemas"];
export type Hold = Schemas["Hold"];
export type ScheduleRequest = Schemas["ScheduleRequest"];
export type AuthorizeRequest = Schemas["AuthorizeRequest"];
export type Authorization = Schemas["Authorization"];
export type Event = Schemas["Event"];
export type ListQuery = NonNullable<paths["/v1/holds"]["get"]["parameters"]["query"]>;

/** A client with the methods of openapi-fetch: `client.POST("/v1/holds", { body })`. */
export type HolddClient = Client<paths>;

export interface Options extends RetryOptions {
  /** The address of holdd, such as http://127.0.0.1:8420. */
  baseUrl: string;
  /** A token of holdd's tokens file. */
  token?: string;
}

/**
 * Returns a client. It gives each POST an Idempotency-Key and repeats a request that got no answer
 * or was told to wait, at most `maxAttempts` times.
 */
export function createClient(options: Options): HolddClient {
  const headers = options.token ? { Authorization: `Bearer ${options.token}` } : {};
  return createFetchClient<paths>({
    baseUrl: options.baseUrl.replace(/\/+$/, ""),
    headers,
    // A redirect would send the token to another server.
    redirect: "manual",
    fetch: createRetryingFetch(options),
  });
}

/** Returns the data of a response, or throws a {@link HolddError}; without an answer, an {@link UnreachableError}. */
export async function unwrap<T>(
  result: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<T> {
  const { data, error, response } = await result;
  if (response.ok && data !== undefined) return data;
  throw new HolddError(response.status, isProblem(error) ? error : undefined);
}

function isProblem(error: unknown): error is Problem {
  return typeof error === "object" && error !== null && "code" in error && "detail" in error;
}

/** Iterates over the holds of all pages. */
export async function* listHolds(client: HolddClient, query: ListQuery = {}): AsyncGenerator<Hold> {
  let cursor = query.cursor;
  for (;;) {
    const page = await unwrap(
      client.GET("/v1/holds", { params: { query: cursor === undefined ? query : { ...query, cursor } } }),
    );
    yield* page.holds;
    if (page.next === undefined) return;
    if (page.next === cursor) throw new Error("holdd sent the same page twice");
    cursor = page.next;
  }
}
