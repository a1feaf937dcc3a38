"""Calls of clients that others wrote, run by their own Python: prints what they return as one JSON object."""

import json
import sys
from collections.abc import Callable
from typing import Any

import litellm
from infinity_client import Client
from infinity_client.api.default import embeddings, health
from infinity_client.models import OpenAIEmbeddingInputImage, OpenAIEmbeddingInputText
from langchain_openai import OpenAIEmbeddings
from llama_index.embeddings.jinaai import JinaEmbedding

URL, MODEL, PICTURE, DATA_URI = sys.argv[1:]
TEXTS = ["red", "blue"]


def rows(answer: Any) -> list[list[float]]:
    return [[float(number) for number in row] for row in answer]


def failure(call: Callable[[], Any]) -> str:
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no failure"


def infinity() -> dict[str, Any]:
    with Client(base_url=URL) as client:
        bodies = [
            OpenAIEmbeddingInputImage(input_=[DATA_URI], model=MODEL),
            OpenAIEmbeddingInputText(input_=TEXTS, model=MODEL),
        ]
        answers = [embeddings.sync(client=client, body=body) for body in bodies]
        unix = health.sync(client=client)["unix"]
    return {"rows": rows(row.embedding for answer in answers for row in answer.data), "unix": unix}


def lite_llm() -> dict[str, Any]:
    def embed(provider: str, **more: Any) -> Any:
        asked = {"api_base": URL, "api_key": "none", **more}
        return litellm.embedding(f"{provider}/{MODEL}", [DATA_URI, *TEXTS], **asked)

    litellm.suppress_debug_info = True
    found = {
        provider: rows(row["embedding"] for row in embed(provider).data)
        for provider in ("infinity", "openai", "jina_ai")
    }
    return {**found, "dimensions": failure(lambda: embed("infinity", dimensions=3))}


def jina() -> dict[str, Any]:
    def model(name: str = MODEL, **encodings: str) -> JinaEmbedding:
        made = JinaEmbedding(model=name, api_key="none", **encodings)
        made._api.api_url = f"{URL}/embeddings"
        return made

    floats = model()
    bits = model(encoding_queries="binary", encoding_documents="ubinary")
    return {
        "rows": rows([floats.get_image_embedding(PICTURE), *floats.get_text_embedding_batch(TEXTS)]),
        "data_uri": rows(floats.get_image_embedding_batch([DATA_URI])),
        "binary": bits.get_query_embedding("red"),
        "ubinary": bits.get_text_embedding("red"),
        "another_model": failure(lambda: model("none").get_text_embedding("red")),
    }


def langchain() -> dict[str, Any]:
    model = OpenAIEmbeddings(model=MODEL, base_url=URL, api_key="none", check_embedding_ctx_length=False)
    return {"rows": rows(model.embed_documents([DATA_URI, *TEXTS])), "query": model.embed_query("red")}


if __name__ == "__main__":
    print(json.dumps({call.__name__: call() for call in (infinity, lite_llm, jina, langchain)}))
