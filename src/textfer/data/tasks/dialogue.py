"""Schema-guided dialogue (DSTC8): what the user wants so far, what the system should do next, and how it says it.

A row is a whole dialogue and makes an example for each turn of the user (state) or of the system (act, response). The
model reads the turns so far; of a long dialogue the oldest turns are left out, so that the newest are never cut off.

- state: `Flights_2: intent = SearchFlight; origin = Oslo | Hotels_1: intent = NONE`, slots in alphabetical order
- act: `offer price; request date`, each once
- response: reads the acts with their values (`offer price = $40`) and writes what the system says
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from textfer.batch import Example, Row
from textfer.data.fields import field, text_field, texts_field, wrong
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import by_text, key_values, stripped
from textfer.metrics import bleu, rouge
from textfer.metrics.means import mean

USER, SYSTEM = "USER", "SYSTEM"
HISTORY_WORDS = 300
SERVICES, PARTS, VALUE = " | ", "; ", " = "
INTENT = "intent"
State = dict[str, dict[str, str]]


class Turn(NamedTuple):
    """What one speaker says, what was said up to then (this turn with it), and what it means."""

    number: int
    speaker: str
    text: str
    history: str
    frames: list[Mapping[str, Any]]


def turns(row: Row, origin: str) -> Iterator[Turn]:
    """The turns of a dialogue. **Errors**: DataError where the columns differ in length or a frame is no JSON."""
    speakers, texts, frames = (texts_field(row, name, origin) for name in ("speaker", "utterance", "frames"))
    for name, column in (("utterance", texts), ("frames", frames)):
        if len(column) != len(speakers):
            raise wrong(len(column), name, origin, f"as many turns as 'speaker' has, {len(speakers)}")
    for number, speaker in enumerate(speakers):
        if speaker not in (USER, SYSTEM):
            raise wrong(speaker, "speaker", origin, f"{USER} or {SYSTEM}")
        yield Turn(number, speaker, texts[number], _history(speakers, texts, number), _frames(frames[number], origin))


def _history(speakers: Sequence[str], texts: Sequence[str], last: int) -> str:
    said: list[str] = []
    words = 0
    for number in range(last, -1, -1):
        words += len(texts[number].split())
        if said and words > HISTORY_WORDS:
            break
        said.append(f"{speakers[number].lower()}: {texts[number]}")
    return " ".join(reversed(said))


def _frames(text: str, origin: str) -> list[Mapping[str, Any]]:
    try:
        frames = json.loads(text)
    except json.JSONDecodeError:
        frames = None
    if not isinstance(frames, list) or not all(isinstance(frame, Mapping) for frame in frames):
        raise wrong(text, "frames", origin, "a JSON list of frames for each turn")
    return frames


def _inside(origin: str) -> str:
    return f"{origin}: field 'frames'"


def _example(name: str, texts: Mapping[str, str], targets: str, origin: str, facts: Mapping[str, Any]) -> Example:
    return Example(inputs=key_values(name, texts), targets=targets, origin=origin, facts=facts, fields=dict(texts))


# ---- state


def _state(row: Row, origin: str) -> Iterable[Example]:
    dialogue, inside = text_field(row, "dialogue_id", origin), _inside(origin)
    for turn in turns(row, origin):
        if turn.speaker == USER:
            gold = {text_field(frame, "service", inside): _slots(frame, inside) for frame in turn.frames}
            first = {service: {slot: values[0] for slot, values in slots.items()} for service, slots in gold.items()}
            facts = {"id": f"{dialogue}/{turn.number}", "state": gold}
            yield _example("schema_guided_state", {"dialogue": turn.history}, state_text(first), origin, facts)


def _slots(frame: Mapping[str, Any], origin: str) -> dict[str, list[str]]:
    """Slot → the ways in which its value was said, the intent first."""
    values = field(frame, "state.slot_values", origin)
    if not isinstance(values, Mapping):
        raise wrong(values, "state.slot_values", origin, "slots with lists of values")
    slots = {slot: list(texts_field(values, slot, origin)) for slot in sorted(values)}
    if not all(slots.values()):
        raise wrong(values, "state.slot_values", origin, "at least one value a slot")
    return {INTENT: [text_field(frame, "state.active_intent", origin)], **slots}


def state_text(state: State) -> str:
    """A state as text: services in their order, each with its intent and slots."""
    return SERVICES.join(
        f"{service}: {PARTS.join(f'{slot}{VALUE}{value}' for slot, value in slots.items())}"
        for service, slots in state.items()
    )


def read_state(text: str) -> State:
    """The state that a text tells; what does not look like one is left out."""
    state: State = {}
    for part in text.split(SERVICES.strip()):
        service, colon, slots = part.partition(":")
        if colon:
            pairs = (slot.partition(VALUE.strip()) for slot in slots.split(PARTS.strip()))
            state[service.strip()] = {slot.strip(): value.strip() for slot, mark, value in pairs if mark}
    return state


def state_scores(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """`joint_goal_accuracy` (every slot of every service right), `slot_f1` over all slots, `intent_accuracy`.

    A value is right when it is one of the ways in which it was said, whatever its case. The official script compares
    free values loosely, service by service.
    """
    joint, intents = [], []
    hits = told = meant = 0
    for answer, example in zip(answers, examples, strict=True):
        found, gold = read_state(str(answer)), example.facts["state"]
        ours = {(service, slot): value for service, slots in found.items() for slot, value in slots.items()}
        theirs = {(service, slot): values for service, slots in gold.items() for slot, values in slots.items()}
        right = {
            key for key, values in theirs.items() if ours.get(key, "").lower() in {value.lower() for value in values}
        }
        goals = {key for key in theirs if key[1] != INTENT}
        named = {key for key in ours if key[1] != INTENT}
        joint.append(set(found) == set(gold) and named == goals and goals <= right)
        intents.append(set(theirs) - goals <= right)
        hits, told, meant = hits + len(right & goals), told + len(named), meant + len(goals)
    slots = [] if not examples else [2 * hits / (told + meant) if told + meant else 1.0]
    return {"joint_goal_accuracy": mean(joint), "slot_f1": mean(slots), "intent_accuracy": mean(intents)}


# ---- acts and responses


def acts(turn: Turn, origin: str) -> dict[str, list[str]]:
    """Act and slot (`offer price`) → its values, in the order of the source."""
    found: dict[str, list[str]] = {}
    for frame in turn.frames:
        actions = field(frame, "actions", _inside(origin))
        if isinstance(actions, str) or not isinstance(actions, Sequence):
            raise wrong(actions, "actions", _inside(origin), "a list")
        for action in actions:
            act, slot = (text_field(action, name, _inside(origin)) for name in ("act", "slot"))
            values = found.setdefault(f"{act.lower()} {slot}".strip(), [])
            values += texts_field(action, "values", _inside(origin))
    return found


def _replies(row: Row, origin: str) -> Iterator[tuple[str, Turn, dict[str, str]]]:
    """The turns of the system, each with what was said before it and its id."""
    dialogue = text_field(row, "dialogue_id", origin)
    for before, turn in pairwise(turns(row, origin)):
        if turn.speaker == SYSTEM:
            yield before.history, turn, {"id": f"{dialogue}/{turn.number}"}


def _act(row: Row, origin: str) -> Iterable[Example]:
    for history, turn, facts in _replies(row, origin):
        if found := acts(turn, origin):
            yield _example("schema_guided_act", {"dialogue": history}, PARTS.join(found), origin, facts)


def _response(row: Row, origin: str) -> Iterable[Example]:
    for history, turn, facts in _replies(row, origin):
        if turn.text.strip():
            said = PARTS.join(
                VALUE.join([act, ", ".join(values)]) if values else act for act, values in acts(turn, origin).items()
            )
            texts = {"acts": said, "dialogue": history}
            yield _example("schema_guided_response", texts, turn.text, origin, facts | {"answers": (turn.text,)})


def act_scores(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """`f1` over the acts of all turns, and `exact_match`: share of turns with just the right acts, in any order."""
    exact = []
    hits = told = meant = 0
    for answer, example in zip(answers, examples, strict=True):
        ours, theirs = (
            {part.strip() for part in text.split(PARTS.strip()) if part.strip()}
            for text in (str(answer), example.targets)
        )
        exact.append(ours == theirs)
        hits, told, meant = hits + len(ours & theirs), told + len(ours), meant + len(theirs)
    return {"f1": mean([2 * hits / (told + meant)] if told + meant else []), "exact_match": mean(exact)}


def _said(*frames: Mapping[str, Any]) -> str:
    return json.dumps(frames)


def _meant(act: str, slot: str = "", *values: str) -> dict[str, Any]:
    return {"act": act, "slot": slot, "values": list(values)}


SAMPLE = (
    {
        "dialogue_id": "made-1",
        "services": ["Boats_1"],
        "speaker": [USER, SYSTEM, USER, SYSTEM],
        "utterance": [
            "I need a boat.",
            "Where to, and on which day?",
            "To Aldon, on Friday.",
            "The Ada sails at 8 am for $40.",
        ],
        "frames": [
            _said({"service": "Boats_1", "actions": [], "state": {"active_intent": "FindBoat", "slot_values": {}}}),
            _said({"service": "Boats_1", "actions": [_meant("REQUEST", "port"), _meant("REQUEST", "date")]}),
            _said(
                {
                    "service": "Boats_1",
                    "actions": [],
                    "state": {
                        "active_intent": "FindBoat",
                        "slot_values": {"port": ["Aldon", "the port of Aldon"], "date": ["Friday"]},
                    },
                },
                {"service": "Hotels_1", "actions": [], "state": {"active_intent": "NONE", "slot_values": {}}},
            ),
            _said(
                {
                    "service": "Boats_1",
                    "actions": [
                        _meant("OFFER", "boat_name", "Ada"),
                        _meant("OFFER", "price", "$40"),
                        _meant("OFFER", "time", "8 am"),
                        _meant("NOTIFY_SUCCESS"),
                    ],
                }
            ),
        ],
    },
)
schema_guided = partial(
    Task,
    source=Source(
        name="google-research-datasets/schema_guided_dstc8",
        config="dialogues",
        columns=("dialogue_id", "speaker", "utterance", "frames"),
    ),
    answer=stripped,
    family="dialogue",
    licence="CC BY-SA 4.0",
    train_ok=True,
    schema="JSON files of dstc8-schema-guided-dialogue: a list a column, the frames of a turn as JSON",
    sizes={"train": 16_142, "validation": 2_482, "test": 4_201},
    sample=SAMPLE,
)
register(
    schema_guided(
        name="schema_guided_state",
        to_examples=_state,
        metrics=state_scores,
        summary="Schema-guided dialogue: intent and slots after each turn of the user",
    )
)
register(
    schema_guided(
        name="schema_guided_act",
        to_examples=_act,
        metrics=act_scores,
        summary="Schema-guided dialogue: what the system does next",
    )
)
register(
    schema_guided(
        name="schema_guided_response",
        to_examples=_response,
        metrics=by_text(bleu, rouge),
        summary="Schema-guided dialogue: the system's acts put in words",
    )
)
