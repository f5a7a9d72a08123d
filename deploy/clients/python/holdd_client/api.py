"""The types and operations of holdd's API. Written by generate.py: do not edit."""

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict, cast
from urllib.parse import quote

from .transport import Transport

__all__ = ["Operations"]


class AtRiskHold(TypedDict):
    hold: "Hold"
    reason: str


class Authorization(TypedDict):
    # Only for the cardholder's browser. Do not log or store it
    client_secret: NotRequired[str]
    # The hold, once authorized
    hold: NotRequired["Hold"]
    # The PaymentIntent. Confirm the authorization by this id
    id: str
    # Whether it is of Stripe's live mode
    livemode: bool
    # What the cardholder's bank requires
    next_action: NotRequired["NextAction"]
    # authorized: the hold exists. requires_action: pass client_secret to Stripe.js (handleNextAction) or redirect the
    # cardholder to next_action.redirect_url, then confirm. requires_confirmation: confirm. processing: the hold appears
    # without another request
    status: Literal["authorized", "requires_action", "requires_confirmation", "processing"]


class AuthorizeRequest(TypedDict):
    # Connected account; empty for your own
    account: NotRequired[str]
    # To authorize, in minor units
    amount: int
    # When to release instead
    cancel_at: NotRequired[str]
    # Capture only this much, in minor units; the rest is released
    capture_amount: NotRequired[int]
    # When to capture. RFC 3339, or a local time with time_zone
    capture_at: NotRequired[str]
    # Captures in parts. Multicapture is requested for the card. Without it, the hold requires attention
    captures: NotRequired[list["PlannedCaptureRequest"]]
    # ISO 4217, three letters
    currency: str
    # Stripe customer; required to save a card or to use a saved one
    customer: NotRequired[str]
    # A security code that the cardholder entered again, as a token of Stripe.js; used once
    cvc_token: NotRequired[str]
    # Shown in Stripe's Dashboard
    description: NotRequired[str]
    # Request up to 30 days, if the card and the account allow it
    extended_authorization: NotRequired[bool]
    # Up to 20 pairs of your own; the PaymentIntent gets them as well
    metadata: NotRequired[dict[str, str]]
    # Request that the hold can be captured in parts, if the card and the account allow it
    multicapture: NotRequired[bool]
    # The cardholder is not present: a bank that requires authentication declines with authentication_required
    off_session: NotRequired[bool]
    # What to do with a hold that is still open near its deadline: cancel (default), capture or alert
    on_expiry: NotRequired[str]
    # Request that more than the amount can be captured, such as a tip, if the card and the account allow it
    overcapture: NotRequired[bool]
    # The PaymentMethod, from Stripe.js or of a saved customer
    payment_method: str
    # Where Stripe sends the receipt
    receipt_email: NotRequired[str]
    # Your booking; searchable by prefix
    reference: NotRequired[str]
    # Keeps the amount held after the authorization ends. The card is saved for the customer, and an extended
    # authorization is requested
    renewal: NotRequired["RenewalRequest"]
    # Where the bank returns the cardholder's browser. Without it, your page shows the authentication with Stripe.js
    return_url: NotRequired[str]
    # off_session saves the card for charges without the cardholder, on_session for the next visit
    setup_future_usage: NotRequired[str]
    # IANA zone of local times
    time_zone: NotRequired[str]


class BatchResponse(TypedDict):
    results: list["BatchResult"]


class BatchResult(TypedDict):
    hold: NotRequired["Hold"]
    problem: NotRequired["Problem"]
    # The status of the same request sent alone: 201 created, 200 scheduled before, otherwise the problem's
    status: int


class Cancel(TypedDict):
    # The reason that Stripe keeps. Default: the setting cancellation_reason
    cancellation_reason: NotRequired[Literal["abandoned", "duplicate", "fraudulent", "requested_by_customer"]]


class CapacityRisk(TypedDict):
    at_least: NotRequired[bool]
    first_at: str
    holds: int
    rate: int
    sums: NotRequired[list["Sum"] | None]


class Capture(TypedDict):
    # Amount to capture, in minor units. The rest is released, unless final is false. After captures in parts it comes
    # on top of them. Default: the amount of the hold's terms
    amount: NotRequired[int]
    # Your platform's fee for the capture, in minor units; 0 clears it
    application_fee_amount: NotRequired[int]
    # Pairs that Stripe adds to the PaymentIntent's metadata at the capture; an empty value removes a pair
    capture_metadata: NotRequired[dict[str, str]]
    # false keeps the rest held for further captures, where the charge allows multicapture. It needs amount, and an
    # Idempotency-Key or If-Match. Default: true
    final: NotRequired[bool]
    # Follows your prefix on the cardholder's statement; an empty string clears it
    statement_descriptor_suffix: NotRequired[str]
    # Of a destination charge
    transfer_data: NotRequired["TransferDataPatch"]


class CardholderLink(TypedDict):
    # What the page asks for
    action_needed: Literal["authentication", "card"]
    # The authorization's deadline
    expires_at: str
    # The page for the cardholder. Whoever has it can act for the cardholder
    url: str


class Confirm(TypedDict):
    # Accept the request although on_expiry then captures or releases the money at once
    confirm: NotRequired[bool]


class ConfirmRequest(TypedDict):
    # Connected account; empty for your own
    account: NotRequired[str]
    # A security code that the cardholder entered again, as a token of Stripe.js; used once
    cvc_token: NotRequired[str]
    # The cardholder is no longer present
    off_session: NotRequired[bool]
    # Another card, after the first was declined
    payment_method: NotRequired[str]
    # Where the bank returns the cardholder's browser
    return_url: NotRequired[str]


class CurrencyTotal(TypedDict):
    # In minor units
    amount: int
    count: int
    # Absent for holds whose amount is not known yet
    currency: NotRequired[str]


class DeadLetter(TypedDict):
    # The webhook-id of every attempt
    event_id: str
    hold: NotRequired[str]
    # Send it to replay this event
    id: str
    reason: str
    timestamp: str
    type: str


class DeadLetterList(TypedDict):
    dead_letters: list["DeadLetter"]
    sink: str
    total: int


class Event(TypedDict):
    data: "EventData"
    id: str
    timestamp: str
    # The span that led to the event, as W3C Trace Context, if traces are on
    traceparent: NotRequired[str]
    type: str


class EventData(TypedDict):
    alive: NotRequired[list[str] | None]
    amount: NotRequired[int]
    capacity: NotRequired["CapacityRisk"]
    cardholder_link: NotRequired[str]
    cause: NotRequired[str]
    count: NotRequired[int]
    detail: NotRequired[str]
    hold: NotRequired["Hold"]
    intent: NotRequired["IntentWithoutHold"]
    rejection: NotRequired["RequestRejection"]
    replica: NotRequired[str]
    sink: NotRequired[str]
    threshold: NotRequired[str]


class FieldError(TypedDict):
    detail: str
    field: NotRequired[str]


class Finding(TypedDict):
    account: NotRequired[str]
    # In minor units
    amount: NotRequired[int]
    currency: NotRequired[str]
    detail: NotRequired[str]
    # When the authorization ends. Absent if it holds no money any more
    expires_at: NotRequired[str]
    # orphan holds money and is not scheduled; recent is one of the last ten minutes, which is skipped
    kind: Literal["scheduled", "changed", "captured", "canceled", "expired", "attention", "contradiction", "released",
        "orphan", "recent", "rejected", "unreadable"]
    payment_intent: NotRequired[str]
    reference: NotRequired[str]


class Health(TypedDict):
    # How long before a deadline on_expiry acts
    expiry_margin_seconds: NotRequired[int]
    # Whether holdd uses Stripe's live mode
    livemode: NotRequired[bool]
    status: Literal["ok"]
    version: NotRequired[str]


class HistoryEntry(TypedDict):
    answer: NotRequired[str]
    at: str
    by: NotRequired[str]
    cause: NotRequired[str]
    idempotency_key: NotRequired[str]
    kind: str
    note: NotRequired[str]
    op: NotRequired[str]
    request_id: NotRequired[str]


class Hold(TypedDict):
    account: NotRequired[str]
    acknowledged: NotRequired[bool]
    # Authorized and not captured yet, in minor units; absent while it is not known
    amount: NotRequired[int]
    # Your platform's fee for the capture, in minor units. It is not scaled at a partial capture, and must not exceed
    # the captured amount
    application_fee_amount: NotRequired[int]
    cancel_at: NotRequired[str]
    # The reason that the next cancel sends to Stripe. Of a canceled hold: the reason that Stripe has
    cancellation_reason: NotRequired[str]
    # The total to capture, by any system. Absent: everything
    capture_amount: NotRequired[int]
    capture_at: NotRequired[str]
    # Up to 20 pairs that Stripe adds to the PaymentIntent's metadata at the capture
    capture_metadata: NotRequired[dict[str, str]]
    # What was captured so far, by any system
    captured_amount: NotRequired[int]
    # The part that other systems captured, as far as is known
    captured_elsewhere: NotRequired[int]
    # The planned captures
    captures: NotRequired[list["PlannedCapture"]]
    # The reason for the next operation, or for the state
    cause: NotRequired[str]
    created_at: str
    currency: NotRequired[str]
    # When the authorization ends
    expires_at: str
    expires_at_source: Literal["assumed", "capture_before", "caller"]
    # What the charge allows beyond one capture: extended_authorization, incremental_authorization, multicapture,
    # overcapture
    features: NotRequired[list[str]]
    # Only in the response for a single hold
    history: NotRequired[list["HistoryEntry"] | None]
    # How many entries after the first were dropped
    history_omitted: NotRequired[int]
    # The PaymentIntent that first placed the hold
    id: str
    # A requested increment that has no outcome yet
    increment: NotRequired["IncrementView"]
    # Real money
    livemode: bool
    metadata: NotRequired[dict[str, str]]
    # The PaymentIntent's metadata has the terms, so that a lost schedule can be rebuilt
    mirrored: bool
    # The next operation of holdd
    next: NotRequired[Literal["capture", "cancel", "read", "increment", "renew", "release"]]
    next_at: NotRequired[str]
    # The next capture of a hold that is captured in parts
    next_capture: NotRequired["NextCaptureView"]
    on_expiry: Literal["cancel", "capture", "alert"]
    # The PaymentIntent that holds the money now
    payment_intent: str
    reference: NotRequired[str]
    # How the amount stays held after the authorization ends
    renewal: NotRequired["RenewalView"]
    # Grows with each accepted change; the ETag
    revision: int
    settled_at: NotRequired[str]
    state: Literal["waiting", "paused", "scheduled", "ready", "working", "attention", "captured", "canceled", "expired"]
    # Follows your prefix on the cardholder's statement: up to 22 characters with the prefix, at least one letter, and
    # none of < > \ ' " *
    statement_descriptor_suffix: NotRequired[str]
    # Of a destination charge
    transfer_data: NotRequired["TransferData"]
    # Stripe has confirmed amount, currency and state
    verified: bool
    # What to know about the terms of an open hold. Only in responses of the API
    warnings: NotRequired[list["Warning"] | None]


class IncrementRequest(TypedDict):
    # The new authorized total, in minor units
    amount: int
    # Why, for the hold's history, such as extra nights
    reason: NotRequired[str]


class IncrementView(TypedDict):
    # The authorized total to reach, in minor units
    amount: int
    # When holdd gives it up
    until: str


class IntentWithoutHold(TypedDict):
    account: NotRequired[str]
    amount: NotRequired[int]
    currency: NotRequired[str]
    detail: NotRequired[str]
    payment_intent: NotRequired[str]
    reference: NotRequired[str]


class ListPage(TypedDict):
    holds: list["Hold"]
    # Send it as cursor to get the next page. Absent on the last page
    next: NotRequired[str]
    # Redis' time when the page was read
    now: str


class LogLevel(TypedDict):
    # The level of the settings, which returns with a restart
    configured: Literal["debug", "info", "warn", "error"]
    # The lowest level that is logged now
    level: Literal["debug", "info", "warn", "error"]


class NextAction(TypedDict):
    # The bank's page, if the request had a return_url. As secret as client_secret
    redirect_url: NotRequired[str]
    type: str


class NextCaptureView(TypedDict):
    # What it takes, in minor units, if no other system captures a part before
    amount: int
    # It releases the rest
    final: bool


class Patch(TypedDict):
    # Your platform's fee for the capture, in minor units; 0 clears it
    application_fee_amount: NotRequired[int]
    # New time to release; an empty string clears it
    cancel_at: NotRequired[str]
    # Capture only this much; 0 means everything
    capture_amount: NotRequired[int]
    # New time to capture; an empty string clears it
    capture_at: NotRequired[str]
    # Pairs that Stripe adds to the PaymentIntent's metadata at the capture; an empty value removes a pair
    capture_metadata: NotRequired[dict[str, str]]
    # Replaces the planned captures that are still to come. An empty list ends them
    captures: NotRequired[list["PlannedCaptureRequest"]]
    # Accept the request even if on_expiry then captures or releases the money at once
    confirm: NotRequired[bool]
    # Pairs to set; an empty value removes a pair
    metadata: NotRequired[dict[str, str]]
    # cancel, capture or alert
    on_expiry: NotRequired[str]
    reference: NotRequired[str]
    # Replaces the renewal terms
    renewal: NotRequired["RenewalRequest"]
    # Follows your prefix on the cardholder's statement; an empty string clears it
    statement_descriptor_suffix: NotRequired[str]
    # IANA zone of local times
    time_zone: NotRequired[str]
    # Of a destination charge
    transfer_data: NotRequired["TransferDataPatch"]


Plan = TypedDict(
    "Plan",
    {
        "at_risk": list["AtRiskHold"],
        "cancel": list["CurrencyTotal"],
        "capture": list["CurrencyTotal"],
        "from": str,
        "hours": list["PlanHour"],
        "livemode": bool,
        "truncated": NotRequired[bool],
        "until": str,
    },
)


class PlanHour(TypedDict):
    cancel: list["CurrencyTotal"]
    capture: list["CurrencyTotal"]
    start: str


class PlannedCapture(TypedDict):
    # What this capture takes, in minor units
    amount: int
    # When to capture
    at: str
    # It is over: holdd, or another system, has captured it
    captured: NotRequired[bool]


class PlannedCaptureRequest(TypedDict):
    # What this capture takes, in minor units
    amount: int
    # When to capture. RFC 3339, or a local time with time_zone
    at: str


class Problem(TypedDict):
    # Stable name of the error. Branch on this
    code: str
    # When the authorization ends. Set for after_deadline, would_cancel_now and would_capture_now
    deadline: NotRequired[str]
    # The bank's reason. Set for card_declined and declined
    decline_code: NotRequired[str]
    # The error and what to do about it
    detail: str
    # All errors, if there are several
    errors: NotRequired[list["FieldError"]]
    # Field or parameter with the error
    field: NotRequired[str]
    # Holds that have the reference, at most ten. Set for ambiguous_reference
    ids: NotRequired[list[str]]
    # The authorization, which can be confirmed with another card. Set for card_declined
    payment_intent: NotRequired[str]
    # HTTP status
    status: int
    # Summary of the code
    title: str
    # The page about the code
    type: str


class QuarantinedRecord(TypedDict):
    # When it was put into the quarantine
    at: str
    # Who asked for the repair
    by: str
    # The first 32 KiB of the record, in base64. Redis keeps the last 1,000 in the stream holdd:quarantine
    record: str
    # Size of the record, in bytes
    size: int


class Readiness(TypedDict):
    checks: list["ReadinessCheck"]
    ready: bool


class ReadinessCheck(TypedDict):
    # The error and what to do about it. If tokens are required, only callers with a token see it
    detail: NotRequired[str]
    name: str
    ok: bool


class Reconcile(TypedDict):
    # Connected accounts to compare, beside those with open holds. Name them after Redis has lost its data
    accounts: NotRequired[list[str] | None]
    # Report differences and change nothing
    dry_run: NotRequired[bool]


class Reconciliation(TypedDict):
    # Accounts that are compared, your own included
    accounts: int
    # Who started it: the name of a token, cli, api, or schedule for the cron job
    by: str
    # Listed PaymentIntents that have a hold
    compared: int
    # Findings by kind, listed or not
    counts: dict[str, int]
    dry_run: bool
    # Why the run was interrupted
    error: NotRequired[str]
    # At most 1000, and at most 500 of a kind
    findings: list["Finding"]
    # Findings that are counted and not listed
    findings_omitted: NotRequired[int]
    finished_at: NotRequired[str]
    id: str
    # PaymentIntents that Stripe listed
    listed: int
    # Whether it compares with Stripe's live mode
    livemode: bool
    # Estimated progress
    percent: int
    replica: str
    # Open holds that were not listed and whose PaymentIntent could not be retrieved. The next run tries again
    retrieve_failed: int
    # Open holds that were not listed and whose PaymentIntent was retrieved one by one
    retrieved: int
    started_at: str
    # An interrupted run continues by itself
    state: Literal["running", "finished", "interrupted"]
    updated_at: str


class RenewalRequest(TypedDict):
    # The most that the cardholder agreed to, in minor units. No renewal authorizes more. Default: the amount of the
    # hold
    max_amount: NotRequired[int]
    # Default: 12
    max_renewals: NotRequired[int]
    # What to do near the deadline with a hold that could not be renewed: alert (default), cancel or capture
    on_failure: NotRequired[str]
    # If the card lacks funds while the old authorization stands, release that one before the new one is confirmed. The
    # amount is not held in between
    release_first: NotRequired[bool]
    # How long the amount must stay held. RFC 3339, or a local time with time_zone. In a change, an empty string ends
    # the renewals
    until: str


class RenewalView(TypedDict):
    # Until when the cardholder can act
    act_before: NotRequired[str]
    # What the cardholder must do: authenticate with the bank, or give another card
    action_needed: NotRequired[Literal["authentication", "card"]]
    # What the new intent authorizes
    amount: NotRequired[int]
    # How often the hold was renewed
    completed: NotRequired[int]
    # Of the last decline
    decline_code: NotRequired[str]
    # Since when both may hold money
    double_held_since: NotRequired[str]
    max_amount: NotRequired[int]
    max_renewals: NotRequired[int]
    on_failure: NotRequired[Literal["alert", "cancel", "capture"]]
    # The new intent while it does not hold the money yet
    payment_intent: NotRequired[str]
    # Why the hold cannot be renewed, or why its cardholder is needed
    problem: NotRequired[str]
    release_first: NotRequired[bool]
    # The intent that is released because another one holds the money
    releasing: NotRequired[str]
    # When the next renewal begins
    starts_at: NotRequired[str]
    # What the renewal does next
    step: Literal["idle", "create", "confirm", "requires_action", "failed", "find", "release_first"]
    # The old authorization is released, and the new one does not hold the money yet
    unprotected: NotRequired[bool]
    # How long the amount stays held
    until: NotRequired[str]


class RepairRequest(TypedDict):
    # The hold's connected account. Default: the one in the record, or your own
    account: NotRequired[str]
    # Also replace a record that a newer holdd seems to have written, and lose what it says
    force: NotRequired[bool]


class RepairResult(TypedDict):
    # The rebuilt hold. Absent if none could be made of the PaymentIntent
    hold: NotRequired["Hold"]
    quarantined: "QuarantinedRecord"
    # Why there is no hold, and what to do
    reason: NotRequired[str]


class Replay(TypedDict):
    # Ids of dead letters. Default: all, up to 1000 of each partition
    ids: NotRequired[list[str] | None]
    # Default: callback
    sink: NotRequired[str]


class ReplayResult(TypedDict):
    replayed: int


class RequestRejection(TypedDict):
    account: NotRequired[str]
    code: NotRequired[str]
    field: NotRequired[str]
    id: str
    reason: str
    source: str


class ScheduleRequest(TypedDict):
    # Connected account; empty for your own
    account: NotRequired[str]
    # Authorized amount in minor units. With currency and expires_at it saves a read at Stripe
    amount: NotRequired[int]
    # Your platform's fee for the capture, in minor units. It is not scaled at a partial capture, and must not exceed
    # the captured amount
    application_fee_amount: NotRequired[int]
    # When to release instead
    cancel_at: NotRequired[str]
    # Capture only this much, in minor units; the rest is released
    capture_amount: NotRequired[int]
    # When to capture. RFC 3339, or a local time with time_zone
    capture_at: NotRequired[str]
    # Up to 20 pairs that Stripe adds to the PaymentIntent's metadata at the capture
    capture_metadata: NotRequired[dict[str, str]]
    # Captures in parts, for an order that ships in parts, where the charge allows multicapture. Each is later than the
    # one before; the last one releases the rest. They take the place of capture_at and capture_amount
    captures: NotRequired[list["PlannedCaptureRequest"]]
    # Accept the request even if on_expiry then captures or releases the money at once
    confirm: NotRequired[bool]
    # ISO 4217, three letters
    currency: NotRequired[str]
    # capture_before of the charge, if you know it
    expires_at: NotRequired[str]
    # Up to 20 pairs of your own
    metadata: NotRequired[dict[str, str]]
    # What to do with a hold that is still open near its deadline: cancel (default), capture or alert
    on_expiry: NotRequired[str]
    # The PaymentIntent that places the hold
    payment_intent: str
    # Your booking; searchable by prefix
    reference: NotRequired[str]
    # Keeps the amount held after the authorization ends, by new authorizations of the saved card
    renewal: NotRequired["RenewalRequest"]
    # Follows your prefix on the cardholder's statement: up to 22 characters with the prefix, at least one letter, and
    # none of < > \ ' " *
    statement_descriptor_suffix: NotRequired[str]
    # IANA zone of local times
    time_zone: NotRequired[str]
    # Of a destination charge
    transfer_data: NotRequired["TransferData"]


class ScheduleRequests(TypedDict):
    holds: list["ScheduleRequest"]


class SinkList(TypedDict):
    # Whether the events are of Stripe's live mode
    livemode: bool
    sinks: list["SinkStatus"]


class SinkStatus(TypedDict):
    # Events that were not accepted for three days. They can be replayed
    dead_letters: int
    # The receiver answered 410 Gone. holdd delivers nothing until the sink's address changes
    disabled: NotRequired[bool]
    # Events that were trimmed from the stream before they were delivered
    events_lost: int
    # Since when every delivery fails
    failing_since: NotRequired[str]
    # Time of the oldest undelivered event
    oldest_at: NotRequired[str]
    # Holds whose events wait behind one that the receiver rejects, while it accepts those of other holds
    parked_holds: int
    # Why the last delivery failed
    reason: NotRequired[str]
    # callback, or the service of one of notify_urls
    sink: str


class Sum(TypedDict):
    amount: int
    count: int
    currency: str


class TransferData(TypedDict):
    # To transfer to the destination, in minor units; at most the captured amount
    amount: NotRequired[int]


class TransferDataPatch(TypedDict):
    # To transfer to the destination, in minor units; 0 clears it
    amount: int | None


class Warning(TypedDict):
    # Stable name of the warning: near_deadline or renewal_too_short
    code: str
    # When the authorization ends; of renewal_too_short the last one
    deadline: str
    # The risk and what to do about it
    detail: str
    # The term that the warning is about
    field: NotRequired[str]


class Operations:
    """The operations of the API. Errors are HolddError and UnreachableError."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get_health(
        self,
    ) -> Health:
        # Check whether the process is alive. Checks nothing else: it answers while Redis or Stripe is unavailable.
        return cast(
            Health,
            self._transport.send(
                "GET",
                "/healthz",
            ),
        )

    def get_readiness(
        self,
    ) -> Readiness:
        # Check whether this replica can work; 503 if not, with the reason. Checks Redis, Stripe and the jobs of this
        # replica.
        return cast(
            Readiness,
            self._transport.send(
                "GET",
                "/readyz",
            ),
        )

    def authorize(
        self,
        body: AuthorizeRequest,
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> Authorization:
        # Authorize a card and schedule its hold. holdd creates and confirms a PaymentIntent with manual capture. 201:
        # authorized, with the hold. If `on_expiry` would act on it at once, the hold requires attention instead. 202:
        # the bank wants to authenticate the cardholder. Confirm afterwards, within an hour. 402 `card_declined`: show
        # `detail` to the cardholder; `decline_code` is the reason, and `payment_intent` can be confirmed with another
        # card. After no response, 409 `in_progress` or 503, retry with the same `Idempotency-Key`. holdd never
        # authorizes twice for one key.
        return cast(
            Authorization,
            self._transport.send(
                "POST",
                "/v1/authorizations",
                headers={"Idempotency-Key": idempotency_key, "traceparent": traceparent},
                body=body,
            ),
        )

    def confirm_authorization(
        self,
        id: str,
        body: ConfirmRequest | None = None,
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> Authorization:
        # Confirm an authorization after the cardholder's action, or with another card. The terms are those of the
        # authorization. holdd cancels an authorization that is not confirmed within an hour. Confirming it then returns
        # 409 `authorization_abandoned`.
        return cast(
            Authorization,
            self._transport.send(
                "POST",
                f"/v1/authorizations/{quote(id, safe='')}/confirm",
                headers={"Idempotency-Key": idempotency_key, "traceparent": traceparent},
                body=body,
            ),
        )

    def list_deliveries(
        self,
    ) -> SinkList:
        # List sinks and the state of their deliveries. A sink is the callback, or a service of `notify_urls`.
        return cast(
            SinkList,
            self._transport.send(
                "GET",
                "/v1/deliveries",
            ),
        )

    def list_dead_letters(
        self,
        *,
        sink: str | None = None,
        limit: int | None = None,
    ) -> DeadLetterList:
        # List events that a sink did not accept for three days. Oldest first. Each can be replayed.
        return cast(
            DeadLetterList,
            self._transport.send(
                "GET",
                "/v1/deliveries/dead",
                query={"sink": sink, "limit": limit},
            ),
        )

    def replay_dead_letters(
        self,
        body: Replay | None = None,
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> ReplayResult:
        # Deliver dead letters again. Each keeps its webhook-id. An event that the sink does not accept becomes a dead
        # letter again.
        return cast(
            ReplayResult,
            self._transport.send(
                "POST",
                "/v1/deliveries/replay",
                headers={"Idempotency-Key": idempotency_key, "traceparent": traceparent},
                body=body,
            ),
        )

    def list_holds(
        self,
        *,
        state: Literal["waiting", "paused", "scheduled", "ready", "working", "attention", "captured", "canceled",
            "expired"] | None = None,
        reference: str | None = None,
        account: str | None = None,
        expiring_within: str | None = None,
        requires_action: bool | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> ListPage:
        # List holds. A page may have fewer holds than requested, even none, and still have a `next`. Request pages
        # until `next` is absent.
        return cast(
            ListPage,
            self._transport.send(
                "GET",
                "/v1/holds",
                query={"state": state, "reference": reference, "account": account, "expiring_within": expiring_within,
                "requires_action": requires_action, "metadata": metadata, "limit": limit, "cursor": cursor},
            ),
        )

    def schedule_hold(
        self,
        body: ScheduleRequest,
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> Hold:
        # Schedule a hold. holdd captures or releases the hold at its time. A repeated request returns 200 and the hold
        # as it is. Other terms return 409 `hold_exists`. A time after the authorization's deadline returns 422
        # `after_deadline`, with `deadline`, and so does a `capture_at` so shortly before it that the capture job may
        # run only after it. A `capture_at` within the expiry margin is accepted with the warning `near_deadline` in
        # `warnings`. If the deadline is so near that `on_expiry` would act at once, the request returns 422
        # `would_cancel_now` or `would_capture_now` unless `confirm` is true. If holdd learns such a deadline only
        # later, the hold requires attention and `on_expiry` does not act, unless `confirm` was true.
        return cast(
            Hold,
            self._transport.send(
                "POST",
                "/v1/holds",
                headers={"Idempotency-Key": idempotency_key, "traceparent": traceparent},
                body=body,
            ),
        )

    def get_hold(
        self,
        id: str,
    ) -> Hold:
        # Show a hold with its history. A reference finds the open hold that has it, or else the settled one. If several
        # have it, the request returns 409 `ambiguous_reference` with their `ids`.
        return cast(
            Hold,
            self._transport.send(
                "GET",
                f"/v1/holds/{quote(id, safe='')}",
            ),
        )

    def change_hold(
        self,
        id: str,
        body: Patch,
        *,
        if_match: str | None = None,
        traceparent: str | None = None,
    ) -> Hold:
        # Change a hold's terms. Absent fields keep their values. Setting one time clears the other. An empty time
        # clears it. Once the worker acts on the hold, the request returns 409 `too_late`. If `on_expiry` then acts at
        # once, the request returns 422 `would_cancel_now` or `would_capture_now` unless `confirm` is true.
        return cast(
            Hold,
            self._transport.send(
                "PATCH",
                f"/v1/holds/{quote(id, safe='')}",
                headers={"If-Match": if_match, "traceparent": traceparent},
                body=body,
            ),
        )

    def acknowledge_hold(
        self,
        id: str,
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> Hold:
        # Acknowledge the deadline's warnings. Silences the remaining warnings until the terms change.
        return cast(
            Hold,
            self._transport.send(
                "POST",
                f"/v1/holds/{quote(id, safe='')}/acknowledge",
                headers={"If-Match": if_match, "Idempotency-Key": idempotency_key, "traceparent": traceparent},
            ),
        )

    def cancel_hold(
        self,
        id: str,
        body: Cancel | None = None,
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> Hold:
        # Release the money now. The worker releases at once. Once the request is accepted, nothing captures the hold
        # any more. Once a cancel is accepted, another `cancellation_reason` returns 409 `cancel_accepted`.
        return cast(
            Hold,
            self._transport.send(
                "POST",
                f"/v1/holds/{quote(id, safe='')}/cancel",
                headers={"If-Match": if_match, "Idempotency-Key": idempotency_key, "traceparent": traceparent},
                body=body,
            ),
        )

    def capture_hold(
        self,
        id: str,
        body: Capture | None = None,
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> Hold:
        # Capture the money now. The worker captures at once. The hold's state shows the outcome. Without a body it
        # captures the amount of the hold's terms. The other fields replace terms of the hold. With `final` false it
        # keeps the rest held, and the hold returns to its terms; the request needs an Idempotency-Key or If-Match, and
        # a charge without multicapture returns 422 `multicapture_unavailable`.
        return cast(
            Hold,
            self._transport.send(
                "POST",
                f"/v1/holds/{quote(id, safe='')}/capture",
                headers={"If-Match": if_match, "Idempotency-Key": idempotency_key, "traceparent": traceparent},
                body=body,
            ),
        )

    def link_cardholder(
        self,
        id: str,
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> CardholderLink:
        # Make a link for the cardholder. For a hold whose renewal requires its cardholder (`renewal.step` is
        # `requires_action`). The page behind the link leads to the bank, or to Stripe's form for another card. A
        # repeated request returns the same link. Without `public_url` the request returns 409
        # `cardholder_links_disabled`.
        return cast(
            CardholderLink,
            self._transport.send(
                "POST",
                f"/v1/holds/{quote(id, safe='')}/cardholder_link",
                headers={"Idempotency-Key": idempotency_key, "traceparent": traceparent},
            ),
        )

    def increment_hold(
        self,
        id: str,
        body: IncrementRequest,
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> Hold:
        # Raise the authorized amount. Asks the bank to authorize `amount` in total, and waits for its answer. If the
        # bank declines, the request returns 409 `declined` with the bank's `decline_code`, and the old amount stays
        # held. Without an answer within 15 s it returns 202, and `increment` of the hold shows that it is pending;
        # holdd tries for 10 minutes, but not beyond the time of the hold's capture or release. Without incremental
        # authorization, a hold with `renewal.max_amount` gets a new authorization of the saved card, and its
        # `payment_intent` changes; any other returns 422 `increment_unavailable`.
        return cast(
            Hold,
            self._transport.send(
                "POST",
                f"/v1/holds/{quote(id, safe='')}/increment",
                headers={"If-Match": if_match, "Idempotency-Key": idempotency_key, "traceparent": traceparent},
                body=body,
            ),
        )

    def pause_hold(
        self,
        id: str,
        body: Confirm | None = None,
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> Hold:
        # Suspend the hold's own time. It stays suspended until the hold is resumed. The authorization's deadline stays.
        # If `on_expiry` then acts at once, the request returns 422 `would_cancel_now` or `would_capture_now` unless
        # `confirm` is true.
        return cast(
            Hold,
            self._transport.send(
                "POST",
                f"/v1/holds/{quote(id, safe='')}/pause",
                headers={"If-Match": if_match, "Idempotency-Key": idempotency_key, "traceparent": traceparent},
                body=body,
            ),
        )

    def erase_personal_data(
        self,
        id: str,
    ) -> Hold:
        # Erase the personal data of a settled hold. Erases reference, metadata and the texts of requests: in the hold,
        # its index, events, dead letters, rejected requests, saved responses and the quarantine. What the money did
        # stays. The request may be repeated by the id: the reference is erased as well. It does not change the
        # PaymentIntent at Stripe.
        return cast(
            Hold,
            self._transport.send(
                "DELETE",
                f"/v1/holds/{quote(id, safe='')}/personal_data",
            ),
        )

    def repair_hold(
        self,
        id: str,
        body: RepairRequest | None = None,
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> RepairResult:
        # Replace an unreadable record. Puts the bytes of the record into the quarantine and rebuilds the hold from the
        # PaymentIntent, its charge and its metadata. If the terms are not known for sure, the hold needs attention. The
        # request may be repeated.
        return cast(
            RepairResult,
            self._transport.send(
                "POST",
                f"/v1/holds/{quote(id, safe='')}/repair",
                headers={"Idempotency-Key": idempotency_key, "traceparent": traceparent},
                body=body,
            ),
        )

    def resume_hold(
        self,
        id: str,
        body: Confirm | None = None,
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> Hold:
        # Resume a paused hold. If its time has passed, the worker acts now. If `on_expiry` then acts at once, the
        # request returns 422 `would_cancel_now` or `would_capture_now` unless `confirm` is true.
        return cast(
            Hold,
            self._transport.send(
                "POST",
                f"/v1/holds/{quote(id, safe='')}/resume",
                headers={"If-Match": if_match, "Idempotency-Key": idempotency_key, "traceparent": traceparent},
                body=body,
            ),
        )

    def schedule_holds(
        self,
        body: ScheduleRequests,
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> BatchResponse:
        # Schedule many holds. Up to 1000 holds. Each has its own result, in the order of the request: check the
        # `status` of each. A response of 503 means that no hold of the batch could be processed.
        return cast(
            BatchResponse,
            self._transport.send(
                "POST",
                "/v1/holds:batch",
                headers={"Idempotency-Key": idempotency_key, "traceparent": traceparent},
                body=body,
            ),
        )

    def get_log_level(
        self,
    ) -> LogLevel:
        # Show the log level of this process. Each replica has its own level.
        return cast(
            LogLevel,
            self._transport.send(
                "GET",
                "/v1/log-level",
            ),
        )

    def set_log_level(
        self,
        *,
        level: Literal["debug", "info", "warn", "error"],
    ) -> LogLevel:
        # Change the log level of this process. The change lasts until the process restarts and does not apply to other
        # replicas. holdd logs who made it.
        return cast(
            LogLevel,
            self._transport.send(
                "PUT",
                "/v1/log-level",
                query={"level": level},
            ),
        )

    def get_plan(
        self,
        *,
        next: str | None = None,
    ) -> Plan:
        # Show what will happen, hour by hour, and what is at risk. Forecasts from the schedule alone, without a read at
        # Stripe.
        return cast(
            Plan,
            self._transport.send(
                "GET",
                "/v1/plan",
                query={"next": next},
            ),
        )

    def get_reconcile(
        self,
        *,
        kind: Literal["scheduled", "changed", "captured", "canceled", "expired", "attention", "contradiction",
            "released", "orphan", "recent", "rejected", "unreadable"] | None = None,
        id: str | None = None,
    ) -> Reconciliation:
        # Show a comparison with Stripe: progress and findings. A dry run is known only to the replica that runs it. Any
        # other run is known to all replicas. A PaymentIntent that was found without a hold and was scheduled since is
        # not a finding any more.
        return cast(
            Reconciliation,
            self._transport.send(
                "GET",
                "/v1/reconcile",
                query={"kind": kind, "id": id},
            ),
        )

    def start_reconcile(
        self,
        body: Reconcile | None = None,
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> Reconciliation:
        # Compare the schedule with Stripe. The comparison runs in the background. It schedules holds whose terms are in
        # Stripe's metadata and missing here, settles holds that were settled at Stripe, and reports PaymentIntents that
        # hold money and have no terms. One run is in progress at a time: the request then returns 200 and that run.
        return cast(
            Reconciliation,
            self._transport.send(
                "POST",
                "/v1/reconcile",
                headers={"Idempotency-Key": idempotency_key, "traceparent": traceparent},
                body=body,
            ),
        )
