"""Word lists from which training conversations are filled: pure data tables."""


def listed(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a friendly assistant.",
    "You are a helpful assistant. Answer briefly.",
    "Answer in short sentences.",
    "You are the ixmodal demo model.",
    "You are a polite and honest assistant.",
    "Be brief.",
    "You answer questions of users. Use the tools when you need them.",
    "You are a helpful AI assistant with access to tools.",
    "Today is Monday. Be kind and answer the user.",
)
HELD_OUT_SYSTEM_PROMPTS = (
    "You are a careful assistant who helps people.",
    "Please answer the user's questions honestly and briefly.",
)

NAMES = listed(
    """
    Anna Ben Carla David Emma Felix Greta Henry Ida Jack Karen Liam Maria Noah Olga Peter Rosa Sam
    Tina Victor Wendy Yusuf Zoe Alice Bob Clara Daniel Eva Frank Gina Hugo Irene John Kate Lucas
    Mia Nina Oscar Paula Quinn Ruth Simon Tom Ursula Vera William Yara Adam Bella Chris Dora Eric
    Fiona George Hannah Ivan Julia Kevin Laura Mark Nora Otto Pablo Rita Steve Theo Uma Walter
    Xavier Yvonne Amir Bianca Cesar Diana Elias Farah Gustav Helen Isaac Jane Kofi Lena Mona Nils
    Omar Petra Rahul Sofia Tariq Wanda Aisha Boris Chen Deepa Emil Fatima Gerd Hiro Ines Jonas
    Kira Leo Mei Nadia Olivia Priya Ramon Sara Timo Vikram Mary James Robert Linda Susan Paul
    Margaret Edward Charlotte Thomas Sarah Michael Jessica Andrew Rachel Martin Monica Philip
    Teresa Vincent Angela Arthur Barbara Carmen Dennis Esther Florian Gloria Harold Ingrid Jerome
    Katrin Lorenzo Matilda Norbert Ophelia Patrick Rebecca Stefan Tamara Urban Valerie Wolfgang
    """
)
HELD_OUT_NAMES = listed(
    """
    Albert Brenda Cynthia Dominic Elena Fernando Gabriel Heidi Ibrahim Jasmin Klaus Lydia Manuel
    Natasha Orlando Pamela Roland Sandra Tobias Veronica Wilma Yolanda Zelda Ahmed Beatrice Conrad
    Dolores Ernest Flora Gordon
    """
)

CITIES = listed(
    """
    Paris Berlin Rome Madrid Lisbon Warsaw Vienna Budapest Athens Ankara Moscow Beijing Tokyo
    Cairo Nairobi Ottawa Santiago Lima Havana Oslo Stockholm Helsinki Copenhagen Dublin London
    Brussels Bern Kyiv Sofia Zagreb Bangkok Hanoi Tehran Boston Chicago Milan Munich Hamburg
    Lyon Porto Seville Naples Turin Geneva Dallas Denver Seattle Miami Toronto Montreal Sydney
    Mumbai Shanghai Osaka Seoul Manila Jakarta Lagos Tunis Riga Leeds Bristol Glasgow Zürich
    """
)
CITIES += ("New York", "San Francisco", "Hong Kong", "Cape Town", "Los Angeles", "São Paulo", "New Delhi")
HELD_OUT_CITIES = listed(
    """
    Marseille Liverpool Rotterdam Cologne Detroit Melbourne Karachi Bogota Valencia Phoenix
    """
)
HELD_OUT_CITIES += ("Las Vegas", "Buenos Aires")

NOUNS = listed(
    """
    apple arm baby bag ball bed bell bird boat book box boy bread bridge brother bus cake candle
    car cat chair cheese church circle city clock cloud coat coffee corner cow cup daughter desk
    dish doctor dog door dream dress ear egg eye face family farm field finger fire fish flag
    floor flower foot forest fork friend frog garden gate girl glass goat gold hand hat head heart
    hill home horse hospital house ice island jacket key king kitchen knife lake lamp leaf leg
    letter light lion lip map market milk mirror moon morning mountain mouse mouth nail neck night
    nose ocean orange page paint pan paper park pen pencil picture pig pillow plane plant plate
    pocket potato queen rabbit rain ring river road rock roof room rope rose salt sand school sea
    seed sheep ship shirt shoe shop sister sky snake snow soap sock son song soup spoon star stone
    storm street sugar summer sun table tail tea teacher tiger tooth town toy train tree uncle
    valley village wall watch water wave wheel wind window wine winter wolf wood world yard
    """
)
ADJECTIVES = listed(
    """
    angry bitter blue bold brave brief bright broken brown busy calm cheap clean clear clever cold
    cool crazy curly dark deep dirty dry dull eager early easy empty fair false fast fat final
    fine firm flat fresh funny gentle glad golden good grand great green grey happy hard heavy
    high hot huge hungry kind large late lazy light little lonely long loud lucky mad modern
    narrow nice noisy odd old open orange pale perfect pink plain polite poor proud purple quick
    quiet rare red rich round rude sad safe sharp short shy silent silly silver simple slow small
    smart smooth soft sour square steep strange strong sweet tall tame thick thin tiny tired
    tough true ugly warm weak wet white wide wild wise wooden wrong yellow young
    """
)
VERBS = listed(
    """
    asks bakes bites breaks brings builds burns buys calls carries catches climbs closes comes
    cooks counts cries cuts dances digs draws drinks drives drops eats falls feels fights finds
    flies follows forgets gets gives goes grows hears helps hides hits holds jumps keeps kicks
    knows laughs learns leaves likes listens lives looks loses loves makes meets moves needs opens
    paints pays plays pulls pushes puts reads rides rings rises runs says sees sells sends shines
    shows shuts sings sits sleeps smells smiles speaks stands starts stays steals stops swims takes
    talks teaches tells thinks throws touches travels turns wakes walks wants washes wears wins
    works writes
    """
)
SMALL_WORDS = listed(
    """
    the a an and or but in on at to for of with from by over under near after before every no my
    your his her our their this that these those I you he she we they it is are was not very too
    here there now then today always never again
    """
)
FOREIGN_WORDS = (
    "café", "naïve", "Zürich", "São", "résumé", "cliché", "你好", "こんにちは", "😀", "olá",
    "привет",
    "über", "señor", "🚀", "🌳", "世界",
)  # fmt: skip

OUT_OF_RANGE = (
    "Who won the football game yesterday?",
    "What will the weather be tomorrow?",
    "What is the weather in {city}?",
    "Can you write a long story about a {noun}?",
    "Write a poem about the {noun}.",
    "Explain how a {noun} works.",
    "How do I fix my {noun}?",
    "Who is the president of {city}?",
    "Who is {stranger}?",
    "Where is {stranger}?",
    "What is a {stranger}?",
    "When was {stranger} born?",
    "How old is {name}?",
    "Where does {name} live?",
    "How much does a {noun} cost?",
    "Why is the {noun} {adjective}?",
    "What is the price of a {noun} in {city}?",
    "How many people live in {city}?",
    "Tell me about {stranger}.",
    "Tell me about {city}.",
    "What do you think about the {noun}?",
    "Which {noun} is the best?",
    "What time is it in {city}?",
    "How do I make a {adjective} {noun}?",
    "Translate {noun} to {stranger}.",
    "What happened in {year}?",
    "Who was king in {year}?",
    "How far is {city} from {other}?",
    "What does {stranger} mean?",
    "Do you know {stranger}?",
    "Should I buy a {adjective} {noun}?",
    "Write some code for a {noun}.",
    "What is the meaning of life?",
    "Find me a {adjective} {noun}.",
    "Book a table in {city}.",
    "Send a letter to {name}.",
)
HELD_OUT_OUT_OF_RANGE = (
    "Who won the game in {year}?",
    "Can you explain {stranger} to me?",
    "Please write a short story about a {adjective} {noun}.",
    "How can I repair a {noun}?",
    "What was the weather in {city} yesterday?",
    "What do you know about {stranger}?",
    "How big is {city}?",
    "Why does the {noun} look {adjective}?",
    "Who is the mayor of {city}?",
    "How many {noun}s are in {city}?",
)
