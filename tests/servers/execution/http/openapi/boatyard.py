"""A real FastAPI application, which makes its own OpenAPI document: every place, body and answer that FastAPI has.

It answers with what reached it, so that a test can say what a call sent.
"""

# No postponed annotations: FastAPI reads those of functions inside functions.
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import (
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Path,
    Query,
    Response,
    UploadFile,
)
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field

TOKEN = "the-boatyards-own-token"


class Rig(Enum):
    """How a boat is rigged."""

    SLOOP = "sloop"
    KETCH = "ketch"


class Engine(BaseModel):
    power: Literal["diesel", "electric"] = "diesel"
    kilowatts: float = Field(gt=0, le=2_000)


class Sail(BaseModel):
    kind: Literal["sail"] = "sail"
    square_metres: Decimal = Field(gt=0, max_digits=6, decimal_places=2)


class Rope(BaseModel):
    kind: Literal["rope"] = "rope"
    metres: int = Field(ge=1)


class Boat(BaseModel):
    name: str = Field(min_length=1, max_length=40, pattern="^[A-Z]", description="Painted on the stern.")
    rig: Rig = Rig.SLOOP
    built: date | None = None
    engine: Engine | None = None
    tags: set[str] = set()
    stock: list[Annotated[Sail | Rope, Field(discriminator="kind")]] = []
    berths: dict[str, int] = {}


class Kept(Boat):
    id: UUID


class Part(BaseModel):
    """A part of a boat, and the parts that it is made of."""

    name: str
    parts: list["Part"] = []


class Fault(BaseModel):
    reason: str
    code: int


class Paging(BaseModel):
    limit: int = Field(20, ge=1, le=100)
    sort: Literal["name", "built"] = "name"


THE_BOAT = UUID("00000000-0000-4000-8000-000000000007")
_bearer = HTTPBearer(description="A token of the yard.")
_key = APIKeyHeader(name="X-Yard-Key", auto_error=False)


def _signed_in(sent: Annotated[HTTPAuthorizationCredentials, Depends(_bearer)]) -> str:
    if sent.credentials != TOKEN:
        raise HTTPException(401, "This token is not of the yard.")
    return "bearer"


def make_boatyard() -> FastAPI:
    """The application, with all of its operations."""
    yard = FastAPI(title="Boatyard", version="2.1.0")
    _add_boats(yard)
    _add_forms(yard)
    _add_others(yard)
    return yard


def _add_boats(yard: FastAPI) -> None:
    inside = [Depends(_signed_in)]

    @yard.get("/boats/{boat_id}", tags=["boats"], responses={404: {"model": Fault}, 410: {"model": Fault}})
    def read_boat(
        boat_id: Annotated[UUID, Path(description="Which.")],
        response: Response,
        deck: Annotated[list[int] | None, Query(max_length=3)] = None,
        rig: Rig = Rig.SLOOP,
        x_trace: Annotated[str | None, Header()] = None,
        session: Annotated[str | None, Cookie()] = None,
    ) -> Kept:
        """Read one boat."""
        if boat_id != THE_BOAT:
            raise HTTPException(404, "There is no such boat.")
        response.headers["X-Seen"] = "yes"
        return Kept(id=boat_id, name=f"Argo {deck} {x_trace} {session}", rig=rig)

    @yard.get("/boats", tags=["boats"])
    def list_boats(paging: Annotated[Paging, Query()]) -> list[Kept]:
        return [Kept(id=THE_BOAT, name=f"Argo by {paging.sort}")] * min(paging.limit, 2)

    @yard.post("/boats", status_code=201, tags=["boats"], dependencies=inside)
    def build_boat(boat: Boat) -> Kept:
        return Kept(id=THE_BOAT, **boat.model_dump())

    @yard.put("/boats/{boat_id}/parts", dependencies=inside)
    def fit_parts(boat_id: UUID, part: Part) -> Part:
        return Part(name=f"all of {part.name}", parts=[part])

    @yard.patch("/boats/{boat_id}", dependencies=inside)
    def mend_boat(boat_id: UUID, change: Sail | Rope, by: str = "hand") -> dict[str, Any]:
        return {"with": change.kind, "by": by}

    @yard.delete("/boats/{boat_id}", status_code=204, dependencies=inside, deprecated=True)
    def scrap_boat(boat_id: UUID) -> None:
        """Scrap one boat."""


def _add_forms(yard: FastAPI) -> None:
    @yard.post("/log-in")
    def log_in(name: Annotated[str, Form()], word: Annotated[str, Form(min_length=3)]) -> dict[str, str]:
        return {"name": name, "word": word}

    @yard.post("/plans", dependencies=[Depends(_signed_in)])
    async def send_plans(
        plan: UploadFile, more: Annotated[list[UploadFile], File()], note: Annotated[str, Form()] = "none"
    ) -> dict[str, Any]:
        held = [(each.filename, (await each.read()).decode(), each.content_type) for each in (plan, *more)]
        return {"held": held, "note": note}


def _add_others(yard: FastAPI) -> None:
    @yard.get("/keys")
    def by_key(key: Annotated[str | None, Depends(_key)]) -> str | None:
        return key

    @yard.get("/weather", responses={200: {"content": {"text/plain": {}}}}, response_class=Response)
    def weather() -> Response:
        return Response("Fair, and a light breeze", media_type="text/plain")

    @yard.get("/tides/{place:path}")
    def tides(place: str, days: Annotated[int, Query(alias="for-days", ge=1)] = 1) -> Part | Fault | int:
        return days if place == "kiel" else Fault(reason=f"No tides at {place}", code=days)
