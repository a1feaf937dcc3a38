"""CLIP of transformers in FastAPI, as a person would write it in an afternoon: a rival, not an example.

CHECKPOINT=folder uvicorn transformers_app:app
"""

import os

import torch
from fastapi import FastAPI, UploadFile
from PIL import Image
from pydantic import BaseModel
from transformers import CLIPModel, CLIPProcessor

folder = os.environ["CHECKPOINT"]
model = CLIPModel.from_pretrained(folder).eval()
processor = CLIPProcessor.from_pretrained(folder)
app = FastAPI()


class Text(BaseModel):
    text: str


class Embedding(BaseModel):
    embedding: list[float]


@app.get("/health")
def health() -> str:
    return "ok"


@app.post("/embed/image")
def embed_image(image: UploadFile) -> Embedding:
    inputs = processor(images=Image.open(image.file).convert("RGB"), return_tensors="pt")
    with torch.no_grad():
        return answer(model.get_image_features(**inputs))


@app.post("/embed/text")
def embed_text(asked: Text) -> Embedding:
    inputs = processor(text=[asked.text], return_tensors="pt", padding=True, truncation=True)
    with torch.no_grad():
        return answer(model.get_text_features(**inputs))


def answer(output: object) -> Embedding:
    """Releases of the library differ in what `get_*_features` gives: the features, or an output with them."""
    features = getattr(output, "pooler_output", output)
    assert isinstance(features, torch.Tensor)
    return Embedding(embedding=torch.nn.functional.normalize(features, dim=-1)[0].tolist())
