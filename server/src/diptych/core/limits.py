"""Upper bounds on sizes and times of requests."""

from dataclasses import dataclass

MAX_HEAD_BYTES = 131_072  # of a request's head, or of a trailer


@dataclass(frozen=True)
class Limits:
    """Bounds on what a caller may send. The defaults are those of the settings of the same names.

    Exceeding one is TooLarge, InvalidValue, Overloaded or a 408, never a crash.
    """

    max_image_bytes: int = 20_000_000
    max_image_px: int = 50_000_000  # of the file and of the resized intermediate
    max_items: int = 256  # in one /embed or /classify
    max_openai_inputs: int = 2048  # texts in one /v1/embeddings; OpenAI takes as many
    max_add_items: int = 64  # images in one synchronous add; more become a job
    max_job_items: int = 10_000  # images in one job
    max_job_bytes: int = 2_000_000_000  # of its body
    max_bundle_bytes: int = 4_000_000_000  # of the archive of a pushed version
    max_add_vectors: int = 10_000  # ready-made vectors in one request
    max_labels: int = 10_000
    max_templates: int = 100
    max_predictions: int = 250_000  # images x labels in the answer of one /classify
    max_label_texts: int = 200_000  # labels x templates
    max_body_bytes: int = 100_000_000
    max_k: int = 1_000
    max_offset: int = 10_000
    max_page_items: int = 1_000  # images in one page of a listing
    max_text_chars: int = 10_000
    max_metadata_bytes: int = 16_384  # as compact JSON
    max_inflight_body_bytes: int = 500_000_000  # of all bodies that are held at once
    max_connections: int = 1_000
    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    long_body_timeout_s: float = 3600.0  # of the body of a job or of a push
    request_timeout_s: float = 300.0  # from a head until its answer begins
