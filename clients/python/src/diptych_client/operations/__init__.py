"""Every call of the API, written once for both clients.

A call is a generator of the steps in `diptych_client.steps`, and its result is a value of
`diptych_client.results`. `describing` has the shortest ones to read first.
"""

from diptych_client.operations.adding import add
from diptych_client.operations.browsing import duplicates, fields, list_images
from diptych_client.operations.describing import (
    model_card,
    model_card_file,
    model_version,
    models,
    ready,
    version,
)
from diptych_client.operations.encoding import classify, classify_embeddings, classify_stored, embed
from diptych_client.operations.jobs import add_tar, cancel_job, follow_job, job, job_outcomes, jobs
from diptych_client.operations.keys import create_key, keys, revoke_key
from diptych_client.operations.managing import (
    change_collection,
    collection,
    collections,
    create_collection,
    delete_image,
    delete_images,
    drop_collection,
    find_images,
    get_image,
    original,
    patch_image,
    thumbnail,
)
from diptych_client.operations.pushing import push_model
from diptych_client.operations.rollouts import (
    activate,
    cancel_rollout,
    compare_versions,
    rollout,
    rollout_status,
    rollouts,
    wait_for_rollout,
)
from diptych_client.operations.searching import search
from diptych_client.operations.vectors import add_vectors

__all__ = [
    "activate",
    "add",
    "add_tar",
    "add_vectors",
    "cancel_job",
    "cancel_rollout",
    "change_collection",
    "classify",
    "classify_embeddings",
    "classify_stored",
    "collection",
    "collections",
    "compare_versions",
    "create_collection",
    "create_key",
    "delete_image",
    "delete_images",
    "drop_collection",
    "duplicates",
    "embed",
    "fields",
    "find_images",
    "follow_job",
    "get_image",
    "job",
    "job_outcomes",
    "jobs",
    "keys",
    "list_images",
    "model_card",
    "model_card_file",
    "model_version",
    "models",
    "original",
    "patch_image",
    "push_model",
    "ready",
    "revoke_key",
    "rollout",
    "rollout_status",
    "rollouts",
    "search",
    "thumbnail",
    "version",
    "wait_for_rollout",
]
