"""Upper bounds on sizes and times of requests."""

from dataclasses import dataclass

MAX_HEAD_BYTES = 131_072  # of a request's head, or of a trailer


@dataclass(frozen=True)
class Limits:
    """Bounds on what a caller may send: settings of the same names, whose defaults these are, then constants.

    Exceeding one is TooLarge, InvalidValue, Overloaded or a 408, never a crash.
    """

    # settings
    max_image_bytes: int = 20_000_000
    max_image_px: int = 50_000_000  # of the file and of the resized intermediate
    max_items: int = 256  # in one /embed or /classify
    max_job_items: int = 10_000  # images in one job
    max_bundle_bytes: int = 4_000_000_000  # of the archive of a pushed version
    max_labels: int = 10_000
    max_body_bytes: int = 100_000_000
    max_k: int = 1_000
    max_inflight_body_bytes: int = 500_000_000  # of all bodies that are held at once
    max_connections: int = 1_000
    request_timeout_s: float = 300.0  # from a head until its answer begins

    # constants
    max_openai_inputs: int = 2048  # texts in one /v1/embeddings; OpenAI takes as many
    max_add_items: int = 64  # images in one synchronous add, some seconds of encoding; more become a job
    max_job_bytes: int = 2_000_000_000  # of its body, which is kept on disk; larger imports are several jobs
    max_add_vectors: int = 10_000  # ready-made vectors in one request: 50 MB of JSON with 512 numbers each
    max_templates: int = 100
    max_predictions: int = 250_000  # images x labels in the answer of one /classify: 25 MB of JSON
    max_label_texts: int = 200_000  # labels x templates
    max_offset: int = 10_000
    max_page_items: int = 1_000  # images in one page of a listing
    max_text_chars: int = 10_000  # far more than any text encoder reads; longer ones cost tokenising only
    max_metadata_bytes: int = 16_384  # as compact JSON
    header_timeout_s: float = 10.0  # a head is one packet or two; a silent connection is closed after it
    body_timeout_s: float = 60.0  # 100 MB at 13 Mbit/s; it takes its room in the budget meanwhile
    long_body_timeout_s: float = 3600.0  # of the body of a job or of a push: 4 GB at 9 Mbit/s
