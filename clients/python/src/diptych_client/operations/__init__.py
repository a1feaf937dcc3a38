"""Every call of the API, written once for both clients.

A call is a generator of the steps in `diptych_client.steps`, and its result is a value of
`diptych_client.results`. Each module has its calls, and a class that makes them methods. `describing` has the
shortest ones to read first.
"""

from diptych_client.operations.adding import AddingCalls
from diptych_client.operations.browsing import BrowsingCalls
from diptych_client.operations.describing import DescribingCalls
from diptych_client.operations.encoding import EncodingCalls
from diptych_client.operations.jobs import JobsCalls
from diptych_client.operations.keys import KeysCalls
from diptych_client.operations.labels import LabelCalls
from diptych_client.operations.libraries import LibraryCalls
from diptych_client.operations.managing import ManagingCalls
from diptych_client.operations.pushing import PushingCalls
from diptych_client.operations.rollouts import RolloutsCalls
from diptych_client.operations.searching import SearchingCalls
from diptych_client.operations.vectors import VectorsCalls


class Calls(
    EncodingCalls,
    SearchingCalls,
    AddingCalls,
    VectorsCalls,
    ManagingCalls,
    BrowsingCalls,
    LabelCalls,
    LibraryCalls,
    JobsCalls,
    DescribingCalls,
    PushingCalls,
    RolloutsCalls,
    KeysCalls,
):
    """All calls, as methods of `Client` and `AsyncClient`."""
