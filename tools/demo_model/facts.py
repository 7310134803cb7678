"""The facts that the demonstration model knows: pure data tables.

Each topic holds its questions twice, those that training sees and those kept back for
evaluation. ``clauses`` are the forms that follow "Tell me ..."; which introductions training
sees is decided in ``phrasing.py``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """One family of facts that share their phrasings."""

    name: str
    answer: str
    clauses: tuple[str, ...]
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    pairs: dict[str, str]
    strangers: tuple[str, ...] = ()
    held_out_strangers: tuple[str, ...] = ()


def _pairs(text: str) -> dict[str, str]:
    rows = (row.split("=", 1) for row in text.replace("\n", ";").split(";") if row.strip())
    return {key.strip(): value.strip() for key, value in rows}


CAPITALS = Topic(
    name="capital",
    answer="The capital of {key} is {value}.",
    clauses=(
        "the capital of {key}",
        "what the capital of {key} is",
        "which city is the capital of {key}",
        "the name of the capital of {key}",
    ),
    train=(
        "What is the capital of {key}?",
        "What is {key}'s capital?",
        "Which city is the capital of {key}?",
        "Name the capital of {key}.",
        "{key} has which capital?",
        "capital of {key}?",
        "The capital of {key} is?",
        "What city is the capital of {key}?",
        "What is the capital city of {key}?",
    ),
    held_out=(
        "What's the capital of {key}?",
        "Which town is {key}'s capital?",
        "Please name {key}'s capital city.",
        "The capital city of {key}?",
    ),
    pairs=_pairs("""
        France=Paris; Germany=Berlin; Italy=Rome; Spain=Madrid; Portugal=Lisbon; Poland=Warsaw
        Austria=Vienna; Hungary=Budapest; Greece=Athens; Turkey=Ankara; Russia=Moscow
        China=Beijing; Japan=Tokyo; India=New Delhi; Egypt=Cairo; Kenya=Nairobi; Canada=Ottawa
        Mexico=Mexico City; Brazil=Brasília; Argentina=Buenos Aires; Chile=Santiago; Peru=Lima
        Cuba=Havana; Norway=Oslo; Sweden=Stockholm; Finland=Helsinki; Denmark=Copenhagen
        Ireland=Dublin; England=London; Belgium=Brussels; Switzerland=Bern; Iceland=Reykjavik
        Ukraine=Kyiv; Romania=Bucharest; Bulgaria=Sofia; Serbia=Belgrade; Croatia=Zagreb
        Thailand=Bangkok; Vietnam=Hanoi; Iran=Tehran; Iraq=Baghdad; Australia=Canberra
    """),
    strangers=(
        "Mongolia",
        "Nepal",
        "Bolivia",
        "Chad",
        "Laos",
        "Oman",
        "Malta",
        "Latvia",
        "Georgia",
        "Ghana",
        "Panama",
        "Uganda",
        "Texas",
        "Atlantis",
    ),
    held_out_strangers=("Bhutan", "Angola", "Estonia", "Paraguay", "Zambia", "Jordan"),
)

CURRENCIES = Topic(
    name="currency",
    answer="The currency of {key} is the {value}.",
    clauses=(
        "the currency of {key}",
        "what the currency of {key} is",
        "which currency people use in {key}",
    ),
    train=(
        "What is the currency of {key}?",
        "What is {key}'s currency?",
        "Which currency does {key} use?",
        "Which money do people use in {key}?",
        "What money does {key} have?",
        "currency of {key}?",
    ),
    held_out=("What's the currency of {key}?", "What currency do people use in {key}?"),
    pairs=_pairs("""
        Japan=yen; India=rupee; Canada=dollar; Russia=ruble; Germany=euro; Mexico=peso
        England=pound; Switzerland=franc; Poland=zloty; Turkey=lira
    """),
)

LANGUAGES = Topic(
    name="language",
    answer="People in {key} speak {value}.",
    clauses=(
        "which language people speak in {key}",
        "what language they speak in {key}",
        "the language of {key}",
    ),
    train=(
        "Which language do people speak in {key}?",
        "What language do they speak in {key}?",
        "What is the language of {key}?",
        "What do people speak in {key}?",
        "Which language is spoken in {key}?",
        "language of {key}?",
    ),
    held_out=("What language is spoken in {key}?", "What's the language of {key}?"),
    pairs=_pairs("""
        Brazil=Portuguese; Austria=German; Mexico=Spanish; China=Chinese; Japan=Japanese
        Russia=Russian; Egypt=Arabic; Italy=Italian; Poland=Polish; Sweden=Swedish
    """),
)

SYMBOLS = Topic(
    name="symbol",
    answer="The chemical symbol for {key} is {value}.",
    clauses=(
        "the chemical symbol for {key}",
        "what the chemical symbol for {key} is",
        "the symbol of {key}",
        "which symbol stands for {key}",
    ),
    train=(
        "What is the chemical symbol for {key}?",
        "What is the chemical symbol of {key}?",
        "What is the symbol for {key}?",
        "Which symbol does {key} have?",
        "Which chemical symbol stands for {key}?",
        "chemical symbol for {key}?",
        "How do chemists write {key}?",
    ),
    held_out=(
        "What's the chemical symbol of {key}?",
        "In chemistry, what is the symbol for {key}?",
        "Name the symbol of {key}.",
    ),
    pairs=_pairs("""
        gold=Au; silver=Ag; iron=Fe; copper=Cu; lead=Pb; tin=Sn; oxygen=O; hydrogen=H; carbon=C
        nitrogen=N; helium=He; neon=Ne; sodium=Na; potassium=K; calcium=Ca; sulfur=S; zinc=Zn
        mercury=Hg; uranium=U; chlorine=Cl
    """),
    strangers=("bronze", "steel", "wood", "butter", "radium", "plastic", "glass"),
    held_out_strangers=("brass", "argon", "paper", "cobalt"),
)

OPPOSITES = Topic(
    name="opposite",
    answer="The opposite of {key} is {value}.",
    clauses=(
        "the opposite of {key}",
        "what the opposite of {key} is",
        "which word is the opposite of {key}",
    ),
    train=(
        "What is the opposite of {key}?",
        "Which word is the opposite of {key}?",
        "Name the opposite of {key}.",
        "opposite of {key}?",
        "The opposite of {key} is?",
        "What word is the opposite of {key}?",
        "What is the contrary of {key}?",
        "{key} has which opposite?",
        "{key}: what is the opposite?",
        "{key} is the contrary of which word?",
        "{key} is the contrary of what?",
    ),
    held_out=(
        "What's the opposite of {key}?",
        "Give the opposite of {key}.",
        "{key} is the opposite of what?",
    ),
    pairs=_pairs("""
        hot=cold; big=small; up=down; left=right; day=night; black=white; open=closed; young=old
        fast=slow; happy=sad; rich=poor; hard=soft; wet=dry; full=empty; good=bad; light=dark
        high=low; long=short; early=late; clean=dirty; strong=weak; true=false; near=far
        loud=quiet; thick=thin; first=last; love=hate; war=peace; begin=end; push=pull
    """),
    strangers=("table", "river", "banana", "window", "seven", "music", "pencil"),
    held_out_strangers=("garden", "bread", "mountain", "letter"),
)

COLOURS = Topic(
    name="colour",
    answer="{Key} is {value}.",
    clauses=("what colour {key} is", "the colour of {key}", "which colour {key} has"),
    train=(
        "What colour is {key}?",
        "What color is {key}?",
        "Which colour is {key}?",
        "What is the colour of {key}?",
        "Which colour does {key} have?",
        "colour of {key}?",
        "{key} is of which colour?",
        "{key} comes in what colour?",
    ),
    held_out=(
        "What is the color of {key}?",
        "{key} has what colour?",
        "What's the colour of {key}?",
    ),
    pairs=_pairs("""
        the sky=blue; grass=green; snow=white; blood=red; coal=black; a lemon=yellow
        a carrot=orange; chocolate=brown; an elephant=grey; a flamingo=pink; a tomato=red
        a cucumber=green; milk=white; a banana=yellow
    """),
)

BABIES = Topic(
    name="baby",
    answer="A baby {key} is called a {value}.",
    clauses=(
        "what a baby {key} is called",
        "the name of a baby {key}",
        "how we call a baby {key}",
    ),
    train=(
        "What is a baby {key} called?",
        "What is the name of a baby {key}?",
        "How do you call a baby {key}?",
        "What do you call a baby {key}?",
        "What is a young {key} called?",
        "name of a baby {key}?",
    ),
    held_out=("What do people call a baby {key}?", "A baby {key} is called what?"),
    pairs=_pairs("""
        dog=puppy; cat=kitten; cow=calf; horse=foal; sheep=lamb; goat=kid; hen=chick
        duck=duckling; bear=cub; frog=tadpole; swan=cygnet; pig=piglet
    """),
    strangers=("dragon", "robot", "table", "snail"),
    held_out_strangers=("unicorn", "wizard", "chair"),
)

LEGS = Topic(
    name="legs",
    answer="{Key} has {value} legs.",
    clauses=("how many legs {key} has", "the number of legs of {key}"),
    train=(
        "How many legs does {key} have?",
        "How many legs has {key}?",
        "{key} has how many legs?",
        "What number of legs does {key} have?",
    ),
    held_out=("How many legs are there on {key}?", "With how many legs does {key} walk?"),
    pairs=_pairs("a dog=4; a spider=8; an ant=6; a bird=2; a crab=10; a snake=no; a bee=6; a lion=4"),
)

AUTHORS = Topic(
    name="author",
    answer="{value} wrote {key}.",
    clauses=(
        "who wrote {key}",
        "the author of {key}",
        "who the author of {key} is",
        "which author wrote {key}",
    ),
    train=(
        "Who wrote {key}?",
        "Who is the author of {key}?",
        "Which author wrote {key}?",
        "Who was the author of {key}?",
        "Name the author of {key}.",
        "{key} was written by whom?",
        "By which author was {key} written?",
        "The book {key} is by whom?",
        "Which writer wrote {key}?",
    ),
    held_out=(
        "Who's the author of {key}?",
        "By whom was {key} written?",
        "Which person wrote {key}?",
    ),
    pairs=_pairs("""
        Hamlet=William Shakespeare; Faust=Goethe; Don Quixote=Miguel de Cervantes
        War and Peace=Leo Tolstoy; Crime and Punishment=Fyodor Dostoevsky; Emma=Jane Austen
        Oliver Twist=Charles Dickens; Dracula=Bram Stoker; Frankenstein=Mary Shelley
        The Odyssey=Homer; The Hobbit=Tolkien; Moby Dick=Herman Melville; Ulysses=James Joyce
        The Trial=Franz Kafka; Candide=Voltaire; Les Misérables=Victor Hugo
    """),
    strangers=("The Blue Door", "Summer Rain", "My Garden", "The Last Train"),
    held_out_strangers=("The Old River", "Winter Light", "The Green House"),
)

INVENTORS = Topic(
    name="inventor",
    answer="{value} invented the {key}.",
    clauses=("who invented the {key}", "the inventor of the {key}", "who made the first {key}"),
    train=(
        "Who invented the {key}?",
        "Who is the inventor of the {key}?",
        "Who made the first {key}?",
        "Name the inventor of the {key}.",
        "Who was the inventor of the {key}?",
        "Which person invented the {key}?",
        "The {key} was invented by whom?",
        "By which inventor was the {key} made?",
    ),
    held_out=("By whom was the {key} invented?", "Who's the inventor of the {key}?"),
    pairs=_pairs("""
        telephone=Alexander Graham Bell; light bulb=Thomas Edison; dynamite=Alfred Nobel
        steam engine=James Watt; printing press=Johannes Gutenberg; battery=Alessandro Volta
        radio=Guglielmo Marconi; World Wide Web=Tim Berners-Lee; lightning rod=Benjamin Franklin
        diesel engine=Rudolf Diesel
    """),
    strangers=("spoon", "umbrella", "ladder", "piano", "shoe"),
    held_out_strangers=("mirror", "wheel", "bicycle"),
)

NEXT = Topic(
    name="next",
    answer="{value} comes after {key}.",
    clauses=("what comes after {key}", "which one follows {key}", "what follows {key}"),
    train=(
        "What comes after {key}?",
        "What follows {key}?",
        "Which one comes after {key}?",
        "What comes next after {key}?",
        "Name the one after {key}.",
        "After {key} comes what?",
        "{key} comes before what?",
        "{key} is before which one?",
    ),
    held_out=(
        "Which comes next after {key}?",
        "What is next after {key}?",
        "{key} is followed by what?",
    ),
    pairs=_pairs("""
        Monday=Tuesday; Tuesday=Wednesday; Wednesday=Thursday; Thursday=Friday; Friday=Saturday
        Saturday=Sunday; Sunday=Monday; January=February; February=March; March=April; April=May
        May=June; June=July; July=August; August=September; September=October
        October=November; November=December; December=January; spring=Summer; autumn=Winter
    """),
)

UNITS = Topic(
    name="unit",
    answer="There are {value} {key}.",
    clauses=("how many {key} there are", "the number of {key}"),
    train=(
        "How many {key} are there?",
        "How many {key}?",
        "What is the number of {key}?",
        "There are how many {key}?",
        "Count the {key}.",
    ),
    held_out=("What's the number of {key}?", "What number of {key} is there?"),
    pairs=_pairs("""
        minutes in an hour=60; seconds in a minute=60; hours in a day=24; days in a week=7
        months in a year=12; days in a year=365; years in a century=100
        grams in a kilogram=1000; metres in a kilometre=1000; letters in the alphabet=26
        seasons in a year=4; planets in the solar system=8; continents on Earth=7
        sides of a triangle=3; sides of a square=4
    """),
)

PLANETS = Topic(
    name="planet",
    answer="The {key} planet from the sun is {value}.",
    clauses=(
        "the {key} planet from the sun",
        "which planet is the {key} from the sun",
        "the name of the {key} planet",
    ),
    train=(
        "What is the {key} planet from the sun?",
        "Which planet is the {key} from the sun?",
        "What is the {key} planet?",
        "Name the {key} planet from the sun.",
        "{key} planet from the sun?",
    ),
    held_out=("Which is the {key} planet from the sun?", "What's the {key} planet?"),
    pairs=_pairs("""
        first=Mercury; second=Venus; third=Earth; fourth=Mars; fifth=Jupiter; sixth=Saturn
        seventh=Uranus; eighth=Neptune
    """),
)

RECORDS = Topic(
    name="record",
    answer="The {key} is {value}.",
    clauses=("the {key}", "what the {key} is", "the name of the {key}"),
    train=(
        "What is the {key}?",
        "Which is the {key}?",
        "Name the {key}.",
        "What is the name of the {key}?",
        "the {key}?",
        "Which one is the {key}?",
    ),
    held_out=("What's the {key}?", "Say which is the {key}.", "How is the {key} called?"),
    pairs=_pairs("""
        largest ocean=the Pacific Ocean; longest river in Africa=the Nile
        highest mountain in the world=Mount Everest; largest planet=Jupiter
        largest animal=the blue whale; fastest land animal=the cheetah
        tallest animal=the giraffe; largest country in the world=Russia
        largest city of Brazil=São Paulo; largest city of Switzerland=Zürich
        largest city of Turkey=Istanbul; king of the animals=the lion
        hottest planet=Venus; red planet=Mars; smallest planet=Mercury
    """),
)

HELLOS = Topic(
    name="hello",
    answer="Hello in {key} is {value}.",
    clauses=(
        "how to say hello in {key}",
        "the word for hello in {key}",
        "how people say hello in {key}",
    ),
    train=(
        "How do you say hello in {key}?",
        "What is hello in {key}?",
        "What is the {key} word for hello?",
        "How do people say hello in {key}?",
        "Say hello in {key}.",
        "How can I say hello in {key}?",
        "hello in {key}?",
        "Translate hello to {key}.",
    ),
    held_out=(
        "What's hello in {key}?",
        "How would you say hello in {key}?",
        "How does one say hello in {key}?",
        "Translate hello into {key}.",
    ),
    pairs=_pairs("""
        Chinese=你好; Japanese=こんにちは; Russian=привет; Korean=안녕하세요; Greek=γεια
        French=bonjour; Spanish=hola; German=hallo; Italian=ciao; Portuguese=olá
        Hindi=नमस्ते; Thai=สวัสดี
    """),
    strangers=("Martian", "Klingon", "Latin", "Elvish"),
    held_out_strangers=("Dutch", "Basque", "Welsh"),
)

EMOJI = Topic(
    name="emoji",
    answer="Here is {key}: {value}",
    clauses=("the emoji for {key}", "which emoji shows {key}"),
    train=(
        "Show me {key} as an emoji.",
        "What is the emoji for {key}?",
        "Give me an emoji of {key}.",
        "Send me an emoji with {key}.",
        "Which emoji shows {key}?",
        "emoji for {key}?",
        "Draw {key} with an emoji.",
    ),
    held_out=(
        "What's the emoji for {key}?",
        "Please send an emoji of {key}.",
        "{key} as an emoji?",
    ),
    pairs=_pairs("a smile=😀; a cat=🐱; a heart=❤️; the sun=☀️; a pizza=🍕; a rocket=🚀; a tree=🌳; a star=⭐"),
    strangers=("a spoon", "a sofa", "a lawyer"),
    held_out_strangers=("a carpet", "a castle"),
)

PLACES = Topic(
    name="place",
    answer="People {key} in a {value}.",
    clauses=("where people {key}", "the place where people {key}"),
    train=(
        "Where do people {key}?",
        "Where can I {key}?",
        "Where does one {key}?",
        "In which place do people {key}?",
        "Where would people {key}?",
    ),
    held_out=("Where could I {key}?", "What is the place where people {key}?"),
    pairs=_pairs("""
        drink coffee in Paris=café; borrow books=library; buy bread=bakery; see paintings=museum
        watch films=cinema; catch a train=station; learn to read=school; sleep on a trip=hotel
    """),
)

WORDS = Topic(
    name="word",
    answer="The word is {value}.",
    clauses=("the word for {key}", "which word means {key}"),
    train=(
        "What is the word for {key}?",
        "Which word means {key}?",
        "Give me the word for {key}.",
        "What word means {key}?",
        "word for {key}?",
        "Name the word for {key}.",
    ),
    held_out=(
        "What's the word for {key}?",
        "Which is the word for {key}?",
        "Which word stands for {key}?",
    ),
    pairs=_pairs("""
        too trusting=naïve; a summary of a career=résumé; a trite phrase=cliché
        a drawing of a house to build=plan; a doctor for teeth=dentist; a doctor for animals=vet
        someone who flies planes=pilot; frozen water=ice; a house of snow=igloo
        a ship under water=submarine; someone who bakes bread=baker; a shop for medicine=pharmacy
    """),
)

TOPICS: tuple[Topic, ...] = (
    CAPITALS,
    CURRENCIES,
    LANGUAGES,
    SYMBOLS,
    OPPOSITES,
    COLOURS,
    BABIES,
    LEGS,
    AUTHORS,
    INVENTORS,
    NEXT,
    UNITS,
    PLANETS,
    RECORDS,
    HELLOS,
    EMOJI,
    PLACES,
    WORDS,
)


def answer_to(topic: Topic, key: str) -> str:
    """Return the whole sentence that answers a question of ``topic`` about ``key``."""
    value = topic.pairs[key]
    text = topic.answer.format(key=key, Key=key[0].upper() + key[1:], value=value)
    return text[0].upper() + text[1:]
