import type { components } from "./schema.js";

export type Problem = components["schemas"]["Problem"];

/** Answers that say nothing of an earlier request with the same key. */
const undecidedStatuses = new Set([401, 403, 408, 429]);
const undecidedCodes = new Set(["in_progress", "unexpected_response", "unreachable"]);

/** A request that did not succeed. Branch on `code`. */
export class HolddError extends Error {
  override name = "HolddError";
  /** What happened and what to do, for people. */
  readonly detail: string;

  constructor(
    /** 0 without an answer. */
    readonly status: number,
    /** Absent if the answer is not one of holdd, such as that of a proxy. */
    readonly problem?: Problem,
    readonly code: string = problem?.code ?? "unexpected_response",
    detail = problem?.detail ?? `unexpected response with status ${status}`,
  ) {
    super(`${code}: ${detail}`);
    this.detail = detail;
  }

  /**
   * Whether the request may have taken effect or may still do so, in this or in an earlier call: repeat
   * it with the same Idempotency-Key. If it is false, holdd has decided the request.
   */
  get outcomeUnknown(): boolean {
    return this.status >= 500 || undecidedStatuses.has(this.status) || undecidedCodes.has(this.code);
  }
}

/** holdd gave no readable answer. A request that changes something may have taken effect. */
export class UnreachableError extends HolddError {
  override name = "UnreachableError";

  constructor(url: string, cause: unknown) {
    super(0, undefined, "unreachable", `holdd at ${new URL(url).origin} does not answer: ${cause}`);
    this.cause = cause;
  }
}
