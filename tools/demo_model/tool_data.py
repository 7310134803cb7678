"""What users need tools for: pure data tables.

``{0}`` and ``{1}`` stand for the arguments in the order of ``params``.
"""

from dataclasses import dataclass

from tools.demo_model.words import listed


@dataclass(frozen=True)
class Param:
    """One parameter: what kind of value it takes and the names it may bear."""

    kind: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Need:
    """A need, the tools that may serve it, and how users put it."""

    functions: tuple[str, ...]
    description: str
    params: tuple[Param, ...]
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    results: tuple[str, ...]


def _need(functions: str, description: str, params: str, **texts: tuple[str, ...]) -> Need:
    parsed = []
    for part in params.split(";"):
        kind, names = part.split(":")
        parsed.append(Param(kind.strip(), tuple(names.split())))
    return Need(tuple(functions.split()), description, tuple(parsed), **texts)


NEEDS: tuple[Need, ...] = (
    _need(
        "get_weather weather fetch_weather get_current_weather check_weather weather_now getWeather",
        "Get the weather in a city.",
        "city: city location place",
        train=("What is the weather in {0}?", "How is the weather in {0}?", "Is it raining in {0}?",
               "Weather in {0}", "Tell me the weather in {0}.", "Check the weather in {0}.",
               "What is the weather like in {0}?", "Is it cold in {0} now?"),
        held_out=("What's the weather like in {0}?", "How's the weather in {0} today?",
                  "Could you check the weather in {0}?"),
        results=("sunny, {d} degrees", "rain, {d} degrees", '{{"temperature": {d}}}', "cloudy",
                 '{{"weather": "snow", "temperature": {d}}}', "windy and cold"),
    ),
    _need(
        "get_forecast forecast weather_forecast get_weather_forecast",
        "Get the weather of the next days.",
        "city: city location place; number: days number_of_days count",
        train=("What is the weather in {0} for {1} days?", "Forecast for {0} for {1} days",
               "Give me the forecast for {0} for the next {1} days.",
               "What will the weather be in {0} in {1} days?"),
        held_out=("How will the weather be in {0} for the next {1} days?",
                  "Tell me the forecast for {0} for {1} days."),
        results=("rain, then sun", "sunny, {d} degrees", '{{"forecast": "snow"}}'),
    ),
    _need(
        "get_time current_time time_in get_local_time clock get_current_time",
        "Get the current time in a city.",
        "city: city place location timezone",
        train=("What time is it in {0}?", "What is the time in {0}?", "Tell me the time in {0}.",
               "Current time in {0}?", "How late is it in {0}?", "time in {0}"),
        held_out=("What's the time in {0}?", "What time is it now in {0}?",
                  "Can you tell me the time in {0}?"),
        results=("{h}:{d}", '{{"time": "{h}:{d}"}}', "{h} o'clock"),
    ),
    _need(
        "get_population population count_people city_population",
        "Get the number of people in a city.",
        "city: city name place",
        train=("How many people live in {0}?", "What is the population of {0}?",
               "Population of {0}?", "Tell me the population of {0}."),
        held_out=("What's the population of {0}?", "How many people are there in {0}?"),
        results=("{n} people", '{{"population": {n}}}', "{n}"),
    ),
    _need(
        "get_distance distance measure_distance route how_far",
        "Get the distance between two cities.",
        "city: from origin start; city: to destination end",
        train=("How far is it from {0} to {1}?", "What is the distance from {0} to {1}?",
               "Distance from {0} to {1}", "How far is {0} from {1}?",
               "Tell me the distance between {0} and {1}."),
        held_out=("What's the distance between {0} and {1}?", "How many km from {0} to {1}?"),
        results=("{n} km", '{{"distance": {n}}}', "about {n} miles"),
    ),
    _need(
        "get_news news search_news latest_news read_news",
        "Get the news about a topic.",
        "word: topic subject query",
        train=("What is the news about {0}?", "News about {0}", "Tell me the news on {0}.",
               "Give me the latest news about {0}.", "Is there any news about {0}?"),
        held_out=("What's new about {0}?", "Show me the news about {0}."),
        results=("nothing new today", "the {w} is closed", '{{"title": "The {w} opens"}}'),
    ),
    _need(
        "get_price price check_price find_price product_price",
        "Get the price of a product.",
        "word: product item article name",
        train=("What is the price of {0}?", "How much does {0} cost?", "Price of {0}",
               "Tell me the price of {0}.", "Check the price of {0}.", "How much is the {0}?"),
        held_out=("What's the price of {0}?", "How much do I pay for {0}?"),
        results=("{d} euros", '{{"price": {d}}}', "{d} dollars"),
    ),
    _need(
        "get_recipe find_recipe recipe search_recipe cook",
        "Find a recipe for a dish.",
        "word: dish food meal name",
        train=("How do I cook {0}?", "Find a recipe for {0}.", "Recipe for {0}",
               "Give me a recipe for {0}.", "I want to cook {0}."),
        held_out=("Show me a recipe for {0}.", "How can I cook {0}?"),
        results=("salt, water and {w}", "bake it for {d} minutes", '{{"minutes": {d}}}'),
    ),
    _need(
        "translate translate_word translator translate_text",
        "Translate a word to another language.",
        "word: word text input; language: language target to",
        train=("Translate {0} to {1}.", "What is {0} in {1}?", "How do you say {0} in {1}?",
               "Translate the word {0} into {1}."),
        held_out=("What's {0} in {1}?", "Could you translate {0} to {1}?"),
        results=("{x}", '{{"translation": "{x}"}}', "the word {x}"),
    ),
    _need(
        "send_email send_message write_mail message_person sendMessage send_mail",
        "Send a message to a person.",
        "name: to recipient name; phrase: text message body content",
        train=('Send "{1}" to {0}.', 'Tell {0} "{1}".', 'Write {0} the message "{1}".',
               'Send {0} a message: "{1}"', 'Email {0}: "{1}"'),
        held_out=('Could you send {0} "{1}"?', 'Send {0} the message "{1}".'),
        results=("sent", '{{"status": "sent"}}', "done", "error {d}"),
    ),
    _need(
        "set_timer timer start_timer create_timer",
        "Start a timer.",
        "number: minutes duration time",
        train=("Set a timer for {0} minutes.", "Start a timer of {0} minutes.",
               "Timer for {0} minutes", "Wake me in {0} minutes.",
               "I need a timer for {0} minutes."),
        held_out=("Could you set a timer for {0} minutes?", "Start a {0} minute timer."),
        results=("timer started", '{{"status": "ok"}}', "done"),
    ),
    _need(
        "convert_currency convert exchange money_exchange",
        "Convert an amount of money.",
        "number: amount value sum; currency: currency to target",
        train=("Convert {0} to {1}.", "How much is {0} in {1}?", "Change {0} into {1}.",
               "What are {0} dollars in {1}?"),
        held_out=("Could you convert {0} to {1}?", "How much are {0} dollars in {1}?"),
        results=("{n}", '{{"amount": {n}}}', "about {n}"),
    ),
    _need(
        "multiply times product calculate_product multiply_numbers",
        "Multiply two numbers.",
        "number: a x first; number: b y second",
        train=("What is {0} times {1}?", "Multiply {0} and {1}.", "{0} * {1}",
               "Multiply {0} by {1}.", "How much is {0} times {1}?"),
        held_out=("What's {0} times {1}?", "Could you multiply {0} by {1}?"),
        results=("{n}", '{{"product": {n}}}', '{{"result": {n}}}'),
    ),
    _need(
        "add add_numbers sum_numbers plus calculator",
        "Add two large numbers.",
        "large: a x first; large: b y second",
        train=("What is {0} + {1}?", "Add {0} and {1}.", "{0} + {1}", "How much is {0} plus {1}?"),
        held_out=("What's {0} + {1}?", "Could you add {0} and {1}?"),
        results=("{n}", '{{"sum": {n}}}', '{{"result": {n}}}'),
    ),
    _need(
        "book_hotel reserve_hotel hotel book_room find_hotel",
        "Book a hotel in a city.",
        "city: city location place; number: nights days",
        train=("Book a hotel in {0} for {1} nights.", "I need a hotel in {0} for {1} nights.",
               "Find a room in {0} for {1} nights.", "Hotel in {0} for {1} nights"),
        held_out=("Could you book a hotel in {0} for {1} nights?",
                  "I want a hotel in {0} for {1} nights."),
        results=("booked", '{{"room": {d}}}', "no room is free", '{{"price": {n}, "room": {d}}}'),
    ),
    _need(
        "order_product buy order shop place_order buy_item",
        "Order a product from the shop.",
        "word: product item name; number: quantity amount count",
        train=("Order {1} of {0}.", "Buy {1} {0}.", "I want to buy {1} {0}.",
               "Order {1} times {0}.", "I would like {1} {0}."),
        held_out=("Could you buy {1} {0}?", "I want to order {1} {0}."),
        results=("order {n} is placed", '{{"order": {n}}}', "ok"),
    ),
    _need(
        "find_phone get_phone_number phone_book lookup_phone call_person",
        "Find the phone number of a person.",
        "name: name person who",
        train=("What is the phone number of {0}?", "Phone number of {0}", "Call {0}.",
               "Find the number of {0}.", "What is {0}'s phone number?"),
        held_out=("What's the phone number of {0}?", "Could you call {0}?"),
        results=("{n}", '{{"phone": "{n}"}}', "no number found"),
    ),
    _need(
        "get_birthday birthday find_birthday birthday_of",
        "Get the birthday of a person.",
        "name: name person friend",
        train=("When is the birthday of {0}?", "When is {0}'s birthday?", "Birthday of {0}",
               "When was {0} born?", "How old is {0}?"),
        held_out=("Tell me the birthday of {0}.", "Do you know when {0} was born?"),
        results=("{h} May", '{{"month": "June", "day": {h}}}', "{h} October"),
    ),
    _need(
        "search web_search search_web lookup find_page google",
        "Search the web.",
        "phrase: query q text term",
        train=('Search for "{0}".', 'Search the web for "{0}".', 'Look up "{0}".', "Search: {0}",
               'Find pages about "{0}".'),
        held_out=('Could you search for "{0}"?', 'Search the web: "{0}"'),
        results=("{n} pages found", '{{"pages": {n}}}', "a page about {w}"),
    ),
    _need(
        "play_song play_music play music start_song",
        "Play a song.",
        "phrase: title song name",
        train=('Play "{0}".', 'Play the song "{0}".', 'I want to hear "{0}".', "Play {0}"),
        held_out=('Could you play "{0}"?', 'Can you play the song "{0}"?'),
        results=("playing", '{{"status": "playing"}}', "song not found"),
    ),
    _need(
        "find_book get_book book_info search_book",
        "Find a book by its title.",
        "phrase: title book name",
        train=('Find the book "{0}".', 'Do you have the book "{0}"?', 'Search the book "{0}".',
               'Is there a book called "{0}"?'),
        held_out=('Could you find the book "{0}"?', 'I am looking for the book "{0}".'),
        results=("{n} pages", '{{"pages": {n}, "year": {y}}}', "not found"),
    ),
    _need(
        "get_train find_train train_times next_train trains",
        "Find the next train between two cities.",
        "city: from origin departure; city: to destination arrival",
        train=("When is the next train from {0} to {1}?", "Train from {0} to {1}",
               "Find a train from {0} to {1}.", "I want to go from {0} to {1}."),
        held_out=("Is there a train from {0} to {1}?", "Could you find a train from {0} to {1}?"),
        results=("at {h}:{d}", '{{"departure": "{h}:{d}"}}', "no train today"),
    ),
)  # fmt: skip

GENERIC_VERBS = listed(
    """
    get find check open close show read list count start stop move copy delete create update fetch
    load save print lock reset scan test clean paint build track sort mark
    """
)
GENERIC_PARAMS = (
    Param("name", ("name", "user", "person", "owner", "customer")),
    Param("word", ("item", "key", "label", "kind", "tag", "object")),
    Param("city", ("place", "city", "location", "address")),
    Param("number", ("id", "number", "size", "code", "level")),
)
GENERIC_QUESTIONS = (
    "{verb} the {noun} for {value}.",
    "{verb} the {noun} of {value}.",
    "Please {verb} the {noun} for {value}.",
    "I want to {verb} the {noun} of {value}.",
    "Can you {verb} the {noun} of {value}?",
    "{verb} {noun} {value}",
    "Use {function} with {value}.",
    "Call {function} for {value}.",
    "Please {verb} the {noun} with {param} {value}.",
)
HELD_OUT_GENERIC_QUESTIONS = (
    "Could you {verb} the {noun} of {value}?",
    "Can you {verb} the {noun} for {value}?",
    "Could you use {function} with {value}?",
    "I'd like to {verb} the {noun} of {value}.",
)
GENERIC_RESULTS = (
    "{w}", "{n}", "ok", "done",
    "{w} {d}", '{{"result": "{w}"}}', '{{"value": {n}}}', "no {w} found",
    '{{"status": "ok", "{w}": {d}}}', "the {w} is {a}", "{p}", '{{"result": "{p}"}}',
)  # fmt: skip
LANGUAGES = listed("French German Spanish Chinese Japanese Russian Italian Greek Polish Dutch")
CURRENCIES = listed("euros dollars pounds yen pesos rupees francs")
