"""The ranking of a search's candidates by what it minimizes."""

from __future__ import annotations

import logging
from dataclasses import replace

from autocast_core.errors import DataError
from autocast_core.search.attribution import Attribution
from autocast_core.search.costs.estimated_time import EstimatedTime, device_of
from autocast_core.search.costs.set_costs import set_costs
from autocast_core.search.ranking import Ranking, ranked
from autocast_core.search.request import SearchRequest, SearchSubject
from autocast_core.search.search_space import SearchSpace

_LOG = logging.getLogger(__name__)


def priced_ranking(
    subject: SearchSubject, request: SearchRequest, space: SearchSpace, attribution: Attribution
) -> Ranking:
    """The nodes of `space` with what each costs by the request's cost, and what sets of them take in time where that is
    asked for. DataError where no time can be estimated and the request names no other cost."""
    model, batches, device = subject.model, subject.batches, device_of(request.cost)
    price, cost = None, request.cost
    if device is not None:
        try:
            price = EstimatedTime.of_batch(model, space, device, next(iter(batches), {}))
        except DataError as error:
            if request.else_cost is None:
                raise
            cost = request.else_cost
            _LOG.info("%s are minimized: %s", cost, error)
    ranking = ranked(space, attribution, set_costs(model, space, cost, batches, subject.runtime))
    return replace(ranking, price=price)
