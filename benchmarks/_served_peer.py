"""The peer of `bench_serve`: a service around implicit's ALS, as such services are commonly written."""

from __future__ import annotations

import os
from pathlib import Path

import scipy.sparse as sp
from fastapi import FastAPI
from implicit.cpu.als import AlternatingLeastSquares
from pydantic import BaseModel


class Asked(BaseModel):
    user_id: int
    k: int = 100


class Item(BaseModel):
    item_id: int
    score: float


class Answer(BaseModel):
    items: list[Item]


def create_app() -> FastAPI:
    folder = Path(os.environ["PEER_FOLDER"])
    model = AlternatingLeastSquares.load(str(folder / "als.npz"))
    events = sp.load_npz(folder / "events.npz").tocsr()
    app = FastAPI()

    @app.post("/recommend")
    def recommend(asked: Asked) -> Answer:
        found = model.recommend(asked.user_id, events[asked.user_id], N=asked.k)
        return Answer(items=[Item(item_id=int(item), score=float(score)) for item, score in zip(*found, strict=True)])

    return app
