"""A seeded, synthetic interaction log of a shop, in which each kind of retriever finds something that others miss.

Each item belongs to a *topic*, which shows in its category, tags and title, and to a *style*, which spans the
categories and hardly shows in features: only co-occurrence reveals it. A user has two to four *interests* (topics or
styles), whose shares drift over time. A visit keeps to one interest, and an item leads to its companion: signals for
item-CF and sequences. New items arrive all the time, and users with an interest in their topic look for them: a
signal for content. Trends come and go in the world and in each country: a signal for popularity. All draws are
vectorised, without a loop over rows, items or users.

Times in this module are int64 seconds since 1970.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from multirecall.datasets.shop import ADJECTIVES, CATEGORIES, COUNTRIES, STYLE_TAGS
from multirecall.errors import ConfigError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Rng = np.random.Generator

_DAY = 86_400
_OPENING = 1_704_067_200  # the log begins on 2024-01-01

# The parameters of the simulation, chosen so that each kind of retriever has a signal of its own.
_ZIPF = 1.5  # exponent of an item's appeal by rank; about 0.9 in the log, since users divide among interests
_TOPIC_SHARE = 0.5  # share of the interests that are topics; the others are styles
_VISIT_EVENTS = 4.0  # mean number of events in a visit
_NOVELTY_SHARE = 0.4  # share of the events of a topic that go to its latest arrivals
_NOVELTY_WINDOW = 14 * _DAY  # seconds for which an item counts as a latest arrival
_TREND_SHARE = 0.07  # share of events that follow a worldwide trend
_LOCAL_SHARE = 0.06  # share of events that follow a trend of the user's country
_TREND_EVERY = 2 * _DAY  # seconds between the starts of two trends
_TREND_LIFE = 10  # mean number of later trends that start before a trend ends
_COMPANION_SHARE = 0.25  # probability that an event goes to the companion of the item before
_REPEAT_SHARE = 0.4  # probability that a visit opens with the consumable of the visit before
_BUY_SHARE = 0.07  # share of the other events that are purchases
_TURN_SHARE = 0.4  # share of users who replace one interest by another at some time


class Log(NamedTuple):
    """The data of a shop: its event log and its two feature tables."""

    interactions: pl.DataFrame
    """user_id str, item_id str, timestamp datetime[us], event "view" or "buy"; sorted by time."""
    items: pl.DataFrame
    """item_id str, category str, tags list[str], title str, price f64, arrival datetime[us]; sorted by arrival."""
    users: pl.DataFrame
    """user_id str, country str, age i64 with nulls; includes users without events."""


def generate(
    n_users: int = 2_000,
    n_items: int = 3_000,
    n_interactions: int = 120_000,
    *,
    days: int = 180,
    seed: int = 7,
) -> Log:
    """Draw exactly `n_interactions` events over `days` days; equal arguments give equal frames.

    Peak memory is about 130 bytes an interaction.

    Raises:
        ConfigError: a size is below 1.
    """
    sizes = {"n_users": n_users, "n_items": n_items, "n_interactions": n_interactions, "days": days}
    for name, value in sizes.items():
        if value < 1:
            raise ConfigError(f"generate: {name} must be >= 1, got {value}; pass 1 or more, or leave it out")
    rng = np.random.default_rng(seed)
    catalogue = _draw_catalogue(rng, n_items, days)
    crowd = _draw_crowd(rng, n_users, catalogue.demand, days)
    visits = _draw_visits(rng, n_interactions, crowd, days)
    item, bought = _draw_events(rng, visits, crowd.country, catalogue)
    items = _item_frame(rng, catalogue)
    users = _user_frame(rng, crowd.country)
    return Log(_interaction_frame(visits, item, bought, users["user_id"], items["item_id"]), items, users)


# -- the catalogue -------------------------------------------------------------------------------------------


class _Shelves(NamedTuple):
    """Items grouped by interest, that is once by topic and once by style, each group sorted by arrival."""

    item: Ints
    key: Ints  # group * span + arrival, ascending; span exceeds every time
    reach: Floats  # (len(item) + 1,) running sum of the items' appeal
    span: int

    def window(self, group: Ints, since: Ints | int, until: Ints) -> tuple[Ints, Ints]:
        """The slots [start, stop) of `group` that arrived in [since, until]; if none did, all up to `until`."""
        opening = np.searchsorted(self.key, group * self.span)
        start = np.searchsorted(self.key, group * self.span + since)
        stop = np.searchsorted(self.key, group * self.span + until, side="right")
        return np.where(start < stop, start, opening), stop

    def pick(self, rng: Rng, start: Ints, stop: Ints) -> Ints:
        """One item from each range [start, stop), with a probability proportional to its appeal."""
        low, high = self.reach[start], self.reach[stop]
        slot = np.searchsorted(self.reach, low + rng.random(len(low)) * (high - low), side="right") - 1
        return self.item[np.clip(slot, start, stop - 1)]


class _Catalogue(NamedTuple):
    arrival: Ints  # ascending
    topic: Ints
    companion: Ints  # the item of the same topic that goes with this one
    style: Ints
    demand: Floats  # probability of each interest: first the topics, then the styles
    shelves: _Shelves


def _draw_catalogue(rng: Rng, n_items: int, days: int) -> _Catalogue:
    """Draw items. 60 % exist at the opening, one of each interest among them; the others arrive evenly over time."""
    n_stock = math.ceil(0.6 * n_items)
    closing = _OPENING + days * _DAY
    stock = rng.integers(_OPENING - 365 * _DAY, _OPENING, n_stock)
    novelties = rng.integers(_OPENING, closing, n_items - n_stock)
    arrival = np.sort(np.concatenate([stock, novelties]))
    topic_size, topic = _draw_communities(rng, math.ceil(0.5 * n_items**0.6), n_items)
    style_size, style = _draw_communities(rng, math.ceil(0.4 * n_items**0.6), n_items)
    demand = np.concatenate([_TOPIC_SHARE * topic_size, (1 - _TOPIC_SHARE) * style_size])

    group = np.concatenate([topic, len(topic_size) + style])
    order = np.argsort(group, kind="stable")
    item = order % n_items
    appeal = (5.0 + rng.permutation(n_items)) ** -_ZIPF
    reach = np.concatenate([[0.0], np.cumsum(appeal[item])])
    shelves = _Shelves(item, group[order] * closing + arrival[item], reach, closing)
    return _Catalogue(arrival, topic, _draw_companions(rng, arrival, topic, shelves), style, demand, shelves)


def _draw_communities(rng: Rng, n: int, n_items: int) -> tuple[Floats, Ints]:
    """The share (n,) of each community and each item's community (n_items,); the first `n` items cover all of them."""
    share = rng.lognormal(0.0, 0.5, n)
    share /= share.sum()
    return share, np.concatenate([np.arange(n), rng.choice(n, n_items - n, p=share)])


def _draw_companions(rng: Rng, arrival: Ints, topic: Ints, shelves: _Shelves) -> Ints:
    """For each item another one of its topic that arrived before it or by the opening; itself if there is none."""
    slot = np.arange(len(topic))
    item = shelves.item[slot]
    start, stop = shelves.window(topic[item], 0, np.maximum(arrival[item], _OPENING))
    step = 1 + rng.integers(0, np.maximum(stop - start - 1, 1))
    companion = np.empty_like(item)
    companion[item] = shelves.item[start + (slot - start + step) % (stop - start)]
    return companion


# -- the users and their visits ------------------------------------------------------------------------------


class _Crowd(NamedTuple):
    activity: Floats  # probability that a visit is this user's
    country: Ints
    tastes: Ints  # (2, n_users, 4) interests before and after the turn
    turn: Ints  # time from which the first interest is replaced by another, for some users
    mixture: Floats  # (2, n_users, 3) at the opening and at the end: prefix sums of the weights of 4 interests


def _draw_crowd(rng: Rng, n_users: int, demand: Floats, days: int) -> _Crowd:
    activity = rng.lognormal(0.0, 1.1, n_users)
    country = rng.choice(len(COUNTRIES), n_users, p=list(COUNTRIES.values()))
    before, new = np.split(rng.choice(len(demand), (n_users, 5), p=demand), [4], axis=1)
    turns = (rng.random((n_users, 1)) < _TURN_SHARE) & (np.arange(4) == 0)
    tastes = np.stack([before, np.where(turns, new, before)])
    turn = _OPENING + rng.integers(0, days * _DAY, n_users)
    held = np.arange(4) < rng.integers(2, 5, (n_users, 1))
    weight = rng.exponential(size=(2, n_users, 4)) * held
    mixture = np.cumsum(weight / weight.sum(axis=2, keepdims=True), axis=2)[:, :, :3]
    return _Crowd(activity / activity.sum(), country, tastes, turn, mixture)


class _Visits(NamedTuple):
    user: Ints
    begin: Ints  # sorted by user, then time
    interest: Ints
    first: Ints  # position of the first event
    of_event: Ints  # (n_interactions,) the visit of each event
    time: Ints  # (n_interactions,)


def _draw_visits(rng: Rng, n_interactions: int, crowd: _Crowd, days: int) -> _Visits:
    """Draw visits of geometric length that begin between 6 and 22 h, with about a minute between events."""
    opens = rng.random(n_interactions) < 1 / _VISIT_EVENTS
    opens[0] = True
    first, of_event = np.flatnonzero(opens), np.cumsum(opens) - 1
    user = np.repeat(np.arange(len(crowd.activity)), rng.multinomial(len(first), crowd.activity))
    day, hour = rng.integers(0, days, len(user)), rng.triangular(6, 20, 22, len(user))
    begin = _OPENING + day * _DAY + (hour * 3600).astype(np.int64)
    begin = begin[np.lexsort([begin, user])]
    interest = _draw_interests(rng, user, begin, crowd, (begin - _OPENING) / (days * _DAY))
    elapsed = np.cumsum(5 + rng.exponential(55.0, n_interactions).astype(np.int64))
    time = elapsed + (begin - elapsed[first])[of_event]
    return _Visits(user, begin, interest, first, of_event, time)


def _draw_interests(rng: Rng, user: Ints, begin: Ints, crowd: _Crowd, progress: Floats) -> Ints:
    """The interest of each visit; with `progress` (0 to 1), a user's first mixture gives way evenly to the last."""
    late = (rng.random(len(user)) < progress).astype(np.int64)
    slot = (crowd.mixture[late, user] < rng.random((len(user), 1))).sum(axis=1)
    turned = (begin > crowd.turn[user]).astype(np.int64)
    interest: Ints = crowd.tastes[turned, user, slot]
    return interest


# -- the events ----------------------------------------------------------------------------------------------


def _draw_events(rng: Rng, visits: _Visits, country: Ints, catalogue: _Catalogue) -> tuple[Ints, Bools]:
    """The item of each event, and whether the event is a purchase."""
    item = _draw_by_interest(rng, visits, catalogue)
    _follow_trends(rng, item, visits, country, catalogue.arrival)
    repeated = _repeat_purchases(rng, item, visits, catalogue.topic)
    _follow_companions(rng, item, visits, catalogue.companion)
    return item, repeated | (rng.random(len(item)) < _BUY_SHARE)


def _draw_by_interest(rng: Rng, visits: _Visits, catalogue: _Catalogue) -> Ints:
    """The item of each event, drawn from the visit's interest; in a topic often one of the latest arrivals."""
    shelves = catalogue.shelves
    start, stop = shelves.window(visits.interest, 0, visits.begin)
    newest, _ = shelves.window(visits.interest, visits.begin - _NOVELTY_WINDOW, visits.begin)
    curious = (visits.interest <= catalogue.topic.max())[visits.of_event]
    curious &= rng.random(len(curious)) < _NOVELTY_SHARE
    start = np.where(curious, newest[visits.of_event], start[visits.of_event])
    return shelves.pick(rng, start, stop[visits.of_event])


def _follow_trends(rng: Rng, item: Ints, visits: _Visits, country: Ints, arrival: Ints) -> None:
    """Overwrite some items, in place, by an item that is a trend at that time in the world or the user's country."""
    dawn = _OPENING - 30 * _DAY
    hits = _draw_hits(rng, arrival, np.arange(dawn, visits.begin.max() + 1, _TREND_EVERY))
    lot = rng.random(len(item))
    swayed = np.flatnonzero(lot < _TREND_SHARE + _LOCAL_SHARE)
    visit = visits.of_event[swayed]
    place = np.where(lot[swayed] < _TREND_SHARE, 0, 1 + country[visits.user[visit]])
    latest = (visits.begin[visit] - dawn) // _TREND_EVERY
    age = rng.geometric(1 / _TREND_LIFE, len(swayed)) - 1
    item[swayed] = hits[place, np.maximum(latest - age, 0)]


def _draw_hits(rng: Rng, arrival: Ints, rise: Ints) -> Ints:
    """The items (1 + n_countries, n_trends) that become a trend at the times `rise`; row 0 holds the worldwide ones."""
    n_arrived = np.searchsorted(arrival, np.maximum(rise, _OPENING), side="right")
    return rng.integers(0, n_arrived, (1 + len(COUNTRIES), len(rise)))


def _repeat_purchases(rng: Rng, item: Ints, visits: _Visits, topic: Ints) -> Bools:
    """Make some visits open with the consumable of the user's visit before, in place; return which events do, bool."""
    consumable = np.array([c.consumable for c in CATEGORIES])
    before = item[visits.first[:-1]]
    again = consumable[topic[before] % len(CATEGORIES)] & (visits.user[:-1] == visits.user[1:])
    again &= rng.random(len(again)) < _REPEAT_SHARE
    events = visits.first[1:][again]
    item[events] = before[again]
    repeated = np.zeros(len(item), np.bool_)
    repeated[events] = True
    return repeated


def _follow_companions(rng: Rng, item: Ints, visits: _Visits, companion: Ints) -> None:
    """Overwrite some items inside a visit, in place, by the companion of the item before."""
    follows = rng.random(len(item)) < _COMPANION_SHARE
    follows[visits.first] = False
    follows[1:] &= ~follows[:-1]
    events = np.flatnonzero(follows)
    item[events] = companion[item[events - 1]]


# -- the frames ----------------------------------------------------------------------------------------------


def _interaction_frame(
    visits: _Visits, item: Ints, bought: Bools, user_ids: pl.Series, item_ids: pl.Series
) -> pl.DataFrame:
    order = np.argsort(visits.time, kind="stable")
    return pl.select(
        user_id=user_ids.gather(visits.user[visits.of_event[order]]),
        item_id=item_ids.gather(item[order]),
        timestamp=_datetimes(visits.time[order]),
        event=pl.Series(["view", "buy"]).gather(bought[order].astype(np.int64)),
    )


def _item_frame(rng: Rng, catalogue: _Catalogue) -> pl.DataFrame:
    """The item table. A topic shows in category, title and tags; a style only in a tag of 30 % of its items."""
    topic, n_items = catalogue.topic, len(catalogue.topic)
    kind = topic % len(CATEGORIES)
    adjectives, style_tags = pl.Series(ADJECTIVES.split()), pl.Series(STYLE_TAGS.split())
    adjective = adjectives.gather(rng.integers(0, len(adjectives), n_items))
    material = _topic_words(rng, topic, [c.materials for c in CATEGORIES], 3)
    noun = _topic_words(rng, topic, [c.nouns for c in CATEGORIES], 3)
    main_tag, side_tag = (_topic_words(rng, topic, [c.tags for c in CATEGORIES], n) for n in (1, 2))
    style_tag = style_tags.gather(catalogue.style % len(style_tags))
    style_tag = style_tag.set(pl.Series(rng.random(n_items) > 0.3), None)
    tags = pl.concat_list(main_tag, side_tag, style_tag).list.drop_nulls().list.unique(maintain_order=True)
    price = np.array([c.price for c in CATEGORIES])[kind] * rng.lognormal(0.0, 0.6, n_items)
    return pl.select(
        item_id=_ids("i", n_items, 6),
        category=pl.Series([c.name for c in CATEGORIES]).gather(kind),
        tags=tags,
        title=pl.concat_str(adjective, material, noun, separator=" ").str.to_titlecase(),
        price=pl.Series(price).round(2),
        arrival=_datetimes(catalogue.arrival),
    )


def _topic_words(rng: Rng, topic: Ints, lists: list[str], width: int) -> pl.Series:
    """A word for each item, one of the `width` words that its topic drew from the list of its category."""
    words = np.array([words.split() for words in lists])
    palette = rng.integers(0, words.shape[1], (topic.max() + 1, width))
    column = palette[topic, rng.integers(0, width, len(topic))]
    return pl.Series(words.ravel().tolist()).gather(topic % len(words) * words.shape[1] + column)


def _user_frame(rng: Rng, country: Ints) -> pl.DataFrame:
    age = np.clip(rng.normal(38, 14, len(country)), 16, 90).astype(np.int64)
    known = rng.random(len(country)) < 0.9
    return pl.select(
        user_id=_ids("u", len(country), 5),
        country=pl.Series(list(COUNTRIES)).gather(country),
        age=pl.Series(age).set(pl.Series(~known), None),
    )


def _ids(prefix: str, n: int, digits: int) -> pl.Series:
    return prefix + pl.Series(np.arange(n)).cast(pl.String).str.zfill(digits)


def _datetimes(time: Ints) -> pl.Series:
    return pl.Series(time * 1_000_000).cast(pl.Datetime("us"))
