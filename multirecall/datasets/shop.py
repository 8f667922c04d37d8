"""The categories, words and countries of the generated shop."""

from typing import NamedTuple


class Category(NamedTuple):
    """A category of the shop, with the words of its items.

    Attributes:
        name: of the category.
        price: the median price of an item.
        consumable: whether users buy an item again and again.
        materials, nouns: words of titles, separated by spaces.
        tags: the tags of its topics, separated by spaces.
    """

    name: str
    price: float
    consumable: bool
    materials: str
    nouns: str
    tags: str


CATEGORIES = (
    Category("clothing", 45, False, "wool cotton linen silk denim leather fleece cashmere",
        "jacket coat sweater shirt scarf gloves hat boots sandals trousers skirt dress socks belt vest "
        "hoodie blouse cardigan raincoat slippers",
        "winter summer casual formal outdoor evening knitwear waterproof layering footwear"),
    Category("electronics", 180, False, "wireless aluminium digital portable solar stereo bluetooth mini",
        "phone laptop tablet camera headphones speaker charger monitor keyboard mouse router projector "
        "microphone drone printer smartwatch earbuds television scanner lens",
        "gaming office travel audio photography streaming charging networking wearable studio"),
    Category("kitchen", 35, False, "steel copper ceramic glass bamboo enamel porcelain silicone",
        "pan kettle knife toaster blender mug teapot grater whisk bowl plate oven mixer ladle skillet "
        "colander peeler saucepan chopper tray",
        "baking cooking brewing cutlery serving grilling storage breakfast dining appliances"),
    Category("garden", 40, False, "teak terracotta galvanised wicker cedar concrete willow slate",
        "shovel rake hose planter trellis lantern bench pruner wheelbarrow sprinkler parasol hammock "
        "birdhouse greenhouse fountain barbecue trowel hedge fence gazebo",
        "planting watering lawn patio balcony pruning wildlife lighting composting shade"),
    Category("furniture", 220, False, "oak walnut velvet pine marble birch rattan mahogany",
        "sofa armchair table wardrobe bookcase desk stool mattress dresser cabinet shelf lamp mirror "
        "ottoman bed nightstand sideboard rug cushion curtain",
        "bedroom lounge hallway study nursery lighting storage seating textiles decoration"),
    Category("sport", 60, False, "carbon nylon titanium rubber neoprene mesh canvas foam",
        "bicycle helmet racket tent backpack kayak skis dumbbell treadmill paddle snowboard wetsuit goggles "
        "football skateboard compass rope harness canteen whistle",
        "cycling climbing camping running swimming hiking fitness skiing tennis paddling"),
    Category("toys", 25, False, "wooden plush magnetic plastic cardboard painted inflatable knitted",
        "puzzle robot doll train castle dinosaur kite marbles puppet blocks teddy racetrack rocket dominoes "
        "yoyo spaceship dollhouse drum scooter globe",
        "toddler building boardgame science pretend vehicles animals puzzles party crafts"),
    Category("beauty", 18, True, "lavender almond coconut aloe rose honey citrus jasmine",
        "shampoo lotion perfume lipstick soap serum mascara sunscreen conditioner toner balm cleanser "
        "deodorant powder scrub moisturiser foundation primer eyeliner mask",
        "skincare haircare makeup fragrance bath sensitive vegan men hydrating suncare"),
    Category("grocery", 9, True, "roasted smoked salted spiced dried fermented toasted wholegrain",
        "coffee tea chocolate pasta olives granola biscuits cheese sauce rice noodles jam crackers vinegar "
        "oats lentils popcorn almonds raisins soup",
        "snack breakfast baking beverages spices italian asian sugarfree protein pantry"),
    Category("music", 120, False, "acoustic electric brass maple rosewood ebony spruce nickel",
        "guitar violin piano ukulele trumpet flute cello amplifier metronome turntable saxophone harmonica "
        "banjo cymbal tambourine clarinet accordion synthesizer mandolin xylophone",
        "strings percussion woodwind vinyl beginner concert jazz rock classical recording"),
)  # fmt: skip
ADJECTIVES = (
    "bright calm classic clever compact cosy curious dainty deluxe durable elegant festive gentle golden "
    "handy humble lively mellow modern noble pocket polished quiet refined robust royal rugged sleek sturdy"
)
STYLE_TAGS = (
    "minimalist vintage bohemian industrial nautical scandinavian gothic tropical rustic futuristic pastel "
    "monochrome floral geometric artisan retro"
)
COUNTRIES = {"US": 0.30, "DE": 0.18, "GB": 0.14, "FR": 0.12, "JP": 0.10, "BR": 0.08, "IN": 0.05, "SE": 0.03}
