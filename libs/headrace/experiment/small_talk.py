"""Off-topic rows: small talk put together from parts, so that no outside data is needed and few rows are alike."""

import random

_SUBJECTS: dict[str, tuple[str, ...]] = {
    "growing tomatoes on a balcony": (
        "Choose the sunniest corner and a large pot.", "Water the soil and not the leaves, best in the morning.",
        "Pinch out side shoots once a week.", "Feed the plants when the first fruit sets.",
    ),
    "a birthday present for my grandmother": (
        "A framed photograph of the family is hard to beat.", "Many people her age enjoy an afternoon out more than a thing.",
        "A warm scarf is useful and easy to post.", "Ask your parents what she has been missing lately.",
    ),
    "getting a puppy used to the lead": (
        "Let it wear the collar indoors for a few days.", "Walk only when the lead hangs loose, and stop when it pulls.",
        "Reward every glance it gives you.", "Five short walks teach more than one long one.",
    ),
    "a weekend trip to the seaside": (
        "Take the early train, it is cheaper and nearly empty.", "Pack something against the wind, even in July.",
        "Guest houses behind the harbour are quieter than hotels.", "Look up the tides before you walk far.",
    ),
    "learning to play the ukulele": (
        "Three chords are enough for dozens of songs.", "Tune it each time, new strings slip for a week.",
        "Practise the changes slowly and in time.", "Sing along as soon as you can, even badly.",
    ),
    "what to cook with leftover rice": (
        "Fried rice likes cold, dry grains.", "Stuff peppers with it and bake them under a little cheese.",
        "With milk, cinnamon and raisins it becomes a pudding.", "Cool it quickly and use it within a day.",
    ),
    "how to fall asleep more easily": (
        "Go to bed and get up at the same hours, weekends too.", "Leave the telephone in another room.",
        "A cool dark room helps more than most teas.", "If you lie awake, get up for a while and read something dull.",
    ),
    "choosing a second-hand bicycle": (
        "Look along the frame for dents and fresh paint.", "Spin both wheels and watch the rims.",
        "A worn chain is cheap, worn cogs are not.", "Ride it around the block before you talk about the price.",
    ),
    "writing a speech for a wedding": (
        "Tell one story, and let it show who they are.", "Three minutes feel long enough to everyone.",
        "Leave out whatever only two guests would understand.", "Write the last sentence first, then lead up to it.",
    ),
    "an old cat that hardly eats": (
        "Warm the food a little, smell is half of the taste.", "Offer small portions often.",
        "Bad teeth are a common reason, so let a vet have a look.", "Do not change brands from one day to the next.",
    ),
    "painting a small hallway": (
        "Light colours help, but the ceiling should stay the lightest.", "Fill and sand the cracks before anything else.",
        "Work from the edges to the middle, wall by wall.", "A second coat hides more than a thicker first one.",
    ),
    "films for a rainy Sunday": (
        "An old comedy suits almost any company.", "Documentaries about the sea are calming.",
        "With children, choose something shorter than ninety minutes.", "Make popcorn first, nobody wants to pause later.",
    ),
    "making friends in a new town": (
        "A choir or a sports club gives you the same faces every week.", "Say yes to the first three invitations.",
        "Neighbours like to be asked for advice.", "Be patient, it takes most people a year.",
    ),
    "keeping a diary in winter": (
        "Two sentences a day are plenty.", "Keep the notebook beside your cup in the morning.",
        "Write what you saw, the feelings come along by themselves.", "Do not read it again before spring.",
    ),
    "the best way to clean a teapot": (
        "Rinse it with hot water straight after use.", "Baking soda takes the brown rim away.",
        "Soap spoils the taste of unglazed clay.", "Let it dry with the lid off.",
    ),
    "taking better holiday photographs": (
        "Go out in the first and the last hour of light.", "Step closer, then once more.",
        "Put the horizon above or below the middle.", "Show people doing something instead of standing.",
    ),
}  # fmt: skip

_ASKED = (
    "Hi there! I have been thinking about {subject}. Any tips?",
    "My sister and I cannot agree about {subject}. What would you say?",
    "Could you tell me a bit about {subject}? No hurry.",
    "Quick question before lunch: what should I know about {subject}?",
    "I am rather new to this: {subject}. Where do I begin?",
    "lol ok so everybody talks about {subject} these days, what do you think",
    "Please write a short and friendly note on {subject} for our club's newsletter.",
    "Do you have an opinion on {subject}? Mine changes every week.",
)
_BEGUN = ("Gladly! ", "What a nice thing to think about. ", "", "Good question. ", "Here is what comes to mind. ", "Of course. ")
_ENDED = (" Enjoy it!", " Tell me how it went.", "", " That is all there is to it.", " And do not worry too much.")


def small_talk(chance: random.Random) -> tuple[str, str]:
    """A question on an everyday subject and a friendly answer of two to four sentences."""
    subject = chance.choice(sorted(_SUBJECTS))
    said = list(_SUBJECTS[subject])
    chance.shuffle(said)
    answer = chance.choice(_BEGUN) + " ".join(said[: chance.randint(2, len(said))]) + chance.choice(_ENDED)
    return chance.choice(_ASKED).format(subject=subject), answer
