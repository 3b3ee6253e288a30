"""1.x: a web application starts predictions, and gives their URLs to the browser."""

import json

import replicate
from fastapi import FastAPI
from fastapi.testclient import TestClient

app = FastAPI()


@app.post("/predictions")
def create(text: str):
    prediction = replicate.predictions.create(
        version="9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426", input={"text": text}
    )
    return {"id": prediction.id, "url": prediction.urls["get"], "cancel": prediction.urls.get("cancel")}


@app.get("/predictions/{id}")
async def get(id: str):
    prediction = await replicate.predictions.async_get(id)
    return json.loads(prediction.json())


client = TestClient(app)
created = client.post("/predictions?text=Ann").json()
assert created["url"].endswith(created["id"])
assert created["cancel"].endswith("/cancel")
assert client.get(f"/predictions/{created['id']}").json()["id"] == created["id"]
