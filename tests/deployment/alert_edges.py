"""Where each alert begins and ends: series just over and just under its limit, and its states around then.

What it says then is in docker/prometheus/tests/.
"""

from typing import get_args

from deployment.alert_series import (
    NEVER,
    Edge,
    Series,
    answered,
    holds,
    looked_up,
    rejected,
    requests,
    served,
)
from diptych.core.ports import Reason

SUPERVISORS = ("/healthz", "/readyz", "/metrics", "/version")
ENCODING = ("/embed", "/classify", "/search", "/v1/embeddings")
NO_ROOM = ("bodies_full", "fetch_full", "decode_full", "tokenize_full")
SLOW = ("header_timeout", "body_timeout", "connections_full")
DISK = ("disk_full", "disk_read_only")
REST = tuple(sorted(set(get_args(Reason)) - {*NO_ROOM, *SLOW, *DISK}))
STARTED = "process_start_time_seconds"
MEMORY = "process_resident_memory_bytes"
OPEN, MAX_OPEN = "process_open_fds", "process_max_fds"
HOUR = 60  # minutes


def of_supervisors(code: int, values: str) -> Series:
    return {name: n for route in SUPERVISORS for name, n in requests(code, values, route).items()}


def of_another(**series: str) -> Series:
    return {f'{name}{{job="other"}}': values for name, values in series.items()}


def refused_by_the_disk(reason: str) -> list[Edge]:
    others = tuple(one for one in NO_ROOM + SLOW + DISK + REST if one != reason)
    return [
        Edge(
            "one write, seen for ten minutes",
            rejected((reason,), "7x9 8x60"),
            {9: "", 10: "firing", 18: "firing", 20: ""},
        ),
        Edge("none but before", rejected((reason,), "7x60") | rejected(others, "0+900x60"), NEVER),
    ]


EDGES = {
    "DiptychDown": [
        Edge("no answer", {"up": "1x5 0x30"}, holds(6, 3)),
        Edge("an answer", {"up": "1x60"}, NEVER),
        Edge("of another", of_another(up="0x60"), NEVER),
    ],
    "DiptychUnwatched": [
        Edge("another alone", of_another(up="1x30"), holds(0, 5)),
        Edge("watched, and down", {'up{job="my-diptych"}': "0x60"}, NEVER),
    ],
    "DiptychNotReady": [
        Edge("not ready", {"diptych_ready": "1x5 0x30"}, holds(6, 1)),
        Edge("ready", {"diptych_ready": "1x60"}, NEVER),
    ],
    "DiptychRestarting": [
        Edge(
            "three starts in half an hour, then out of it",
            {STARTED: "1x0 2x13 3x13 4x60"},
            {28: "", 29: "firing", 31: ""},
        ),
        Edge("three starts in 32 minutes", {STARTED: "1x0 2x15 3x14 4x60"}, NEVER),
        Edge("of another", of_another(process_start_time_seconds="0+1x60"), NEVER),
    ],
    "DiptychErrors": [
        Edge(
            "1.02% of what callers ask, whatever supervisors do",
            requests(200, "0+9898x60") | requests(500, "0+102x60") | of_supervisors(200, "0+90000x60"),
            holds(1, 5),
        ),
        Edge("0.98%", requests(200, "0+9902x60") | requests(500, "0+98x60"), NEVER),
        Edge("supervisors' alone", requests(200, "0+900x60") | of_supervisors(500, "0+900x60"), NEVER),
        *(
            Edge(f"{code} is none", requests(code, "0+9x60"), NEVER)
            for code in (200, 404, 429, 499, 503, 507)
        ),
        *(Edge(f"{code} is one", requests(code, "0+9x60"), holds(1, 5)) for code in (500, 501, 502, 504)),
        Edge(
            "all in one minute, seen for five",
            requests(200, "0+9000x60") | requests(500, "0x19 9000x40"),
            {19: "", 20: "pending", 24: "pending", 25: ""},
        ),
        Edge(
            "a few a minute, hidden for five by requests of one",
            requests(200, "0x19 9000x40") | requests(500, "0+10x60"),
            {19: "firing", 20: "", 24: "", 25: "pending"},
        ),
    ],
    "DiptychStoreFull": refused_by_the_disk("disk_full"),
    "DiptychStoreReadOnly": refused_by_the_disk("disk_read_only"),
    "DiptychRefusing": [
        Edge(
            "5.1% of what callers ask, for five reasons together",
            rejected(NO_ROOM, "0+102x60") | requests(200, "0+10000x60") | of_supervisors(200, "0+90000x60"),
            holds(1, 10),
        ),
        Edge("4.9%", rejected(NO_ROOM, "0+98x60") | requests(200, "0+10000x60"), NEVER),
        Edge("other reasons", rejected(SLOW + DISK + REST, "0+900x60") | requests(200, "0+900x60"), NEVER),
        Edge(
            "all in one minute, seen for five",
            rejected(NO_ROOM, "0x19 900x40") | requests(200, "0+1000x60"),
            {19: "", 20: "pending", 24: "pending", 25: ""},
        ),
        Edge(
            "a few a minute, hidden for five by requests of one",
            rejected(NO_ROOM, "0+1x60") | requests(200, "0x19 9000x40"),
            {19: "firing", 20: "", 24: "", 25: "pending"},
        ),
    ],
    "DiptychSlow": [
        *(
            Edge(f"1.1% of {route} take 5 to 10 s", answered("0+9890x60", "0+10000x60", route), holds(1, 10))
            for route in ENCODING
        ),
        Edge("0.9%", answered("0+9910x60", "0+10000x60"), NEVER),
        Edge("what may take long", answered("0x60", "0+10000x60", "/jobs/{job}/events"), NEVER),
        Edge(
            "all in one minute, seen for five",
            answered("0x60", "0x19 9000x40"),
            {19: "", 20: "pending", 24: "pending", 25: ""},
        ),
    ],
    # A rate from 0 on is what it will be when its window is full.
    "DiptychSlowClients": [
        Edge("1.02 a second, for four reasons together", rejected(SLOW, "0+15.3x60"), holds(10, 10)),
        Edge("0.98 a second", rejected(SLOW, "0+14.7x60"), NEVER),
        Edge("other reasons", rejected(NO_ROOM + DISK + REST, "0+900x60"), NEVER),
    ],
    "DiptychFilesRunOut": [
        Edge("801 of 1000", {OPEN: "700x4 801x60", MAX_OPEN: "1000x60"}, holds(5, 5)),
        Edge("800 of 1000", {OPEN: "800x60", MAX_OPEN: "1000x60"}, NEVER),
        Edge("of another", of_another(process_open_fds="999x60", process_max_fds="1000x60"), NEVER),
    ],
    "DiptychMemoryGrows": [
        # Minute m has 900 MB + m MB, a day later 1,440 MB more: twice as much as long as m < 540.
        Edge(
            "when it has run for six hours, until a day adds less than there is",
            {STARTED: "0x600", MEMORY: "900e6+1e6x600"},
            {**holds(6 * HOUR + 1, HOUR), 538: "firing", 542: ""},
        ),
        # The line through six hours reaches it 264 minutes later, through five 211, through seven 322.
        Edge(
            "after twelve level hours",
            {STARTED: "0x1200", MEMORY: "900e6x720 901e6+1e6x420"},
            {980: "", 988: "pending", 1040: "pending", 1050: "firing"},
        ),
        Edge(
            "of another",
            of_another(process_start_time_seconds="-36000x60", process_resident_memory_bytes="900e6+1e6x60"),
            NEVER,
        ),
    ],
    "DiptychVersionsDiffer": [
        Edge(
            "two of one name",
            served("a", "m", 2, "fp32", "1x60") | served("b", "m", 3, "fp32", "_x10 1x60"),
            holds(10, 15),
        ),
        Edge(
            "one of each name, in two precisions",
            served("a", "m", 2, "fp32", "1x60")
            | served("a", "m", 2, "int8", "1x60")
            | served("b", "n", 3, "fp32", "1x60"),
            NEVER,
        ),
    ],
    "DiptychLabelsNotKept": [
        Edge(
            "50.5% are new, 10.2 a second",
            looked_up(misses="0+612x120", hits="0+600x120"),
            holds(30, HOUR),
        ),
        Edge("49.5% are new", looked_up(misses="0+612x60", hits="0+624x60"), NEVER),
        Edge("all are new, 9.8 a second", looked_up(misses="0+588x60", hits="0x60"), NEVER),
        # Of the last half hour h minutes had 15,000 hits, all others 6,000 misses: most of all until h = 8.
        Edge(
            "fewer and fewer are new",
            looked_up(misses="0+6000x100 600000x60", hits="0x100 15000+15000x60"),
            {**holds(4, HOUR), 108: "firing", 109: ""},
        ),
    ],
}
