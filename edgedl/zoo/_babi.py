"""Stories and questions in the manner of bAbI, from a generator: no one wrote them, and any number can be had.

After J. Weston et al., Towards AI-complete question answering, 2015, https://arxiv.org/abs/1502.05698, tasks 1 and 2, which
were generated in such a way themselves: people walk between rooms, take things and leave them. A question asks for the room
of a person (one fact decides) or of a thing (two facts do: who took it, and where that one is, or was).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgedl.spec import Array
from edgedl.zoo._text import Vocabulary, Words

PEOPLE = ("mary", "john", "sandra", "daniel")
ROOMS = ("kitchen", "bathroom", "bedroom", "garden", "hallway", "office")
THINGS = ("football", "apple", "milk")
FACTS, WORDS = 10, 5
"""Facts of a story, and words of a fact or question, at most."""

SENTENCES = (
    *(f"{person} went to the {room}" for person in PEOPLE for room in ROOMS),
    *(f"{person} {verb} the {thing}" for person in PEOPLE for verb in ("took", "left") for thing in THINGS),
    *(f"where is {name}" for name in PEOPLE), *(f"where is the {thing}" for thing in THINGS),
)  # fmt: skip
VOCABULARY = Vocabulary.of([sentence.split() for sentence in SENTENCES], 64)


@dataclass(frozen=True)
class Stories:
    """facts: [n, FACTS, WORDS] int64, the newest first, empty ones at the end. question: [n, WORDS]. answer: [n], number of the room."""

    facts: Array
    question: Array
    answer: Array


@dataclass
class World:
    """What has happened so far."""

    rooms: dict[str, str] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def room_of(self, name: str) -> str | None:
        """Of a person or a thing; None where it cannot be known."""
        return self.rooms.get(self.holders.get(name, name)) or self.places.get(name)


def stories(count: int, seed: int) -> Stories:
    generator = np.random.default_rng(seed)
    made = [story(generator) for _ in range(count)]
    facts = np.stack([VOCABULARY.rows([*facts[::-1], *[()] * (FACTS - len(facts))], WORDS) for facts, _, _ in made])
    question = VOCABULARY.rows([question for _, question, _ in made], WORDS)
    return Stories(facts, question, np.array([ROOMS.index(room) for _, _, room in made], np.int64))


def story(generator: np.random.Generator) -> tuple[list[Words], Words, str]:
    """(facts, question, answer). A thing is asked for in half of the stories that say where one is."""
    world = World()
    facts = [tuple(_event(world, generator).split()) for _ in range(generator.integers(3, FACTS + 1))]
    things = [thing for thing in THINGS if world.room_of(thing)]
    ask = str(generator.choice(things if things and generator.random() < 0.5 else list(world.rooms)))
    room = world.room_of(ask)
    assert room
    return facts, tuple(f"where is {'the ' if ask in THINGS else ''}{ask}".split()), room


def _event(world: World, generator: np.random.Generator) -> str:
    """Somebody leaves the thing that he holds, takes one that may be where he is, or goes to a room."""
    person, thing = str(generator.choice(PEOPLE)), str(generator.choice(THINGS))
    here = world.rooms.get(person)
    if here and world.holders.get(thing) == person:
        world.places[thing] = here
        del world.holders[thing]
        return f"{person} left the {thing}"
    free = thing not in world.holders and world.places.get(thing, here) == here
    if here and free and generator.random() < 0.5:
        world.holders[thing] = person
        return f"{person} took the {thing}"
    world.rooms[person] = str(generator.choice(ROOMS))
    return f"{person} went to the {world.rooms[person]}"
