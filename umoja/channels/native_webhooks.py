"""The native API's webhooks: where a client wants to be told, and what was told there.

Calls wait for files, and so each is made in a thread. Another client's webhooks are not there.
"""

import asyncio
import re
from typing import cast

from umoja.channels.native_call import Answer, Call, Outcome, page_place, page_token
from umoja.channels.problems import Problem, problem
from umoja.channels.webhooks import RESTS_FROM
from umoja.channels.wire import (
    AgainIn,
    DeliveriesOut,
    DeliveryOut,
    EventKind,
    PageQuery,
    WebhookIn,
    WebhookOut,
    WebhooksOut,
    moment,
)
from umoja.payments.deliveries import Delivery, QueueFull, again, listed
from umoja.payments.webhooks import KeyTaken, Webhook, WebhooksFull
from umoja.reach import checked

_ID = re.compile(r"wh_[0-9a-f]{24}", re.ASCII)


async def register(call: Call, asked: WebhookIn) -> Outcome:
    """Keep an address. The same key is the same webhook; its secret is told once."""
    kept = call.whole.webhooks
    try:
        url = checked(asked.url, may_be_private=kept.is_open)
    except ValueError as cause:
        return problem("unprocessable", field="url", detail=f"This is refused: {cause}.")
    desk = call.whole.desk
    head = await desk.settled(lambda: desk.head)
    try:
        made, is_new = await asyncio.to_thread(
            kept.register,
            client=call.client.id,
            organisation=call.client.organisation,
            key=call.key,
            url=url,
            events=asked.events,
            head=head,
        )
    except KeyTaken:
        return problem("key_reused")
    except WebhooksFull:
        return problem("webhooks_full")
    secret = kept.secret(made.id) if is_new else None
    return Answer(
        status=201,
        body=_webhook_out(made, secret=secret),
        headers=(("location", f"/v1/webhooks/{made.id}"),),
    )


async def webhooks(call: Call, _asked: None) -> Outcome:
    """Return all webhooks of this client."""
    found = await asyncio.to_thread(call.whole.webhooks.browse, call.client.id)
    return Answer(body=WebhooksOut(webhooks=[_webhook_out(each) for each in found], next=None))


async def webhook(call: Call, _asked: None) -> Outcome:
    """Return one webhook as it stands."""
    found = await _found(call)
    return found if isinstance(found, Problem) else Answer(body=_webhook_out(found))


async def remove(call: Call, _asked: None) -> Outcome:
    """Tell an address nothing more. Repeating is harmless."""
    is_there = _ID.fullmatch(call.place) is not None and await asyncio.to_thread(
        call.whole.webhooks.remove, call.client.id, call.place
    )
    return Answer(status=204) if is_there else problem("webhook_unknown")


async def deliveries(call: Call, asked: PageQuery) -> Outcome:
    """Return what was sent to a webhook, or waits, or was given up."""
    found = await _found(call)
    if isinstance(found, Problem):
        return found
    before = page_place(asked.page_token)
    if isinstance(before, Problem):
        return before
    lines = await asyncio.to_thread(
        listed, call.whole.webhooks.tables(), found.id, before=before, limit=asked.page_size + 1
    )
    page = lines[: asked.page_size]
    has_more = len(lines) > len(page)
    return Answer(
        body=DeliveriesOut(
            deliveries=[_delivery_out(each) for each in page],
            next=page_token(page[-1].sequence) if has_more else None,
        )
    )


async def send_again(call: Call, asked: AgainIn) -> Outcome:
    """Have one event sent again, as soon as there is a moment. Repeating asks once more."""
    found = await _found(call)
    if isinstance(found, Problem):
        return found
    kept = call.whole.webhooks
    try:
        asked_for = await asyncio.to_thread(again, kept.tables(), found.id, asked.event, kept.now())
    except QueueFull:
        return problem("too_many", detail="10,000 events wait for this webhook already.")
    if asked_for is None:
        return problem("event_unknown", field="event")
    return Answer(body=_delivery_out(asked_for))


async def _found(call: Call) -> Webhook | Problem:
    """Return the webhook that the path names, where it is this client's."""
    if _ID.fullmatch(call.place) is None:
        return problem("webhook_unknown")
    found = await asyncio.to_thread(call.whole.webhooks.find, call.client.id, call.place)
    return problem("webhook_unknown") if found is None or found.deleted_at else found


def _webhook_out(webhook: Webhook, *, secret: str | None = None) -> WebhookOut:
    rests = webhook.failed >= RESTS_FROM
    return WebhookOut(
        id=webhook.id,
        url=webhook.url,
        events=[cast("EventKind", each) for each in webhook.events],
        secret=secret,
        created_at=moment(webhook.made_at),
        state="rests" if rests else "works",
        failed=webhook.failed,
        rests_until=_moment(webhook.rests_until) if rests else None,
        left_out=webhook.left_out,
    )


def _delivery_out(delivery: Delivery) -> DeliveryOut:
    return DeliveryOut(
        event=delivery.event,
        type=cast("EventKind", delivery.kind),
        payment=delivery.payment,
        state=delivery.state,
        status=delivery.status or None,
        trouble=delivery.trouble or None,
        tries=delivery.tries,
        happened_at=moment(delivery.since),
        tried_at=_moment(delivery.tried_at),
        delivered_at=_moment(delivery.done_at),
        next_try_at=_moment(delivery.next_at) if delivery.state == "waiting" else None,
    )


def _moment(micros: int) -> str | None:
    return moment(micros) if micros else None
