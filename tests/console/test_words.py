"""The console's words: complete in every language, spoken to whoever reads, and never bare English."""

import json
import re
from datetime import UTC, datetime

import pytest
import yaml
from markupsafe import Markup

from tests.console import sentences
from tests.console.conftest import Desk
from tests.console.test_stream import wall_of
from umoja.console.pages import HERE
from umoja.console.words import (
    LANGUAGES,
    _,
    _n,
    catalogue,
    chosen,
    day,
    figures,
    money,
    named,
    number,
    percent,
    record,
    recorded,
    speaking,
    weekday,
)
from umoja.ops.incident import Post, Stage
from umoja.ops.remedies import REMEDIES
from umoja.ops.staff import ROLES
from umoja.payments.catalogue import PRODUCTS
from umoja.payments.order import Decline, State
from umoja.simulator.faults import FAULTS

OTHERS = sorted(set(LANGUAGES) - {"en"})
NBSP = "\u202f"
OPS = HERE.parent / "ops"
FRENCH = {"accept-language": "fr"}


def known(language: str):
    found = catalogue(language)
    assert found is not None
    return found


# The catalogue and what is said


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_there_in_every_language_and_none_is_left_over(language: str):
    said, found = sentences.everything(), known(language)
    assert said.unread == []
    assert sorted(said.words - set(found.words)) == []
    assert sorted(set(found.words) - said.words) == []
    assert sorted(set(said.counted) - set(found.counted)) == []
    assert sorted(set(found.counted) - set(said.counted)) == []


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_fields_of_its_sentence(language: str):
    found = known(language)
    pairs = [*found.words.items(), *found.records.items()]
    pairs += [(one, text) for one, both in found.counted.items() for text in both]
    differ = [
        sentence
        for sentence, said in pairs
        if sentences.fields_of(sentence) != sentences.fields_of(said) or not said.strip()
    ]
    assert differ == []


def test_a_sentence_is_written_once_in_its_catalogue():
    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[str, object]:
        keys = [loader.construct_object(key) for key, _value in node.value]
        assert [key for key in keys if keys.count(key) > 1] == []
        return {
            loader.construct_object(key): loader.construct_object(value, deep=True)
            for key, value in node.value
        }

    Strict.add_constructor("tag:yaml.org,2002:map", mapping)
    for path in (HERE / "catalogues").glob("*.yaml"):
        assert yaml.load(path.read_text("utf-8"), Strict)["language"] == path.stem


def test_no_template_has_words_that_no_catalogue_knows():
    bare = {
        path.name: found
        for path in sentences.TEMPLATES
        if (found := sentences.bare_words(path.read_text("utf-8")))
    }
    assert bare == {}


@pytest.mark.parametrize(
    ("template", "bare"),
    [
        ("<p>Nobody is here</p>", ["Nobody is here"]),
        ('<p>{{ _("Nobody is here") }}</p>', []),
        ('<a title="Look here">{{ name }}</a>', ["Look here"]),
        ('<a title="{{ _("Look here") }}"><kbd>Esc</kbd> · {{ name }}</a>', []),
        ("<p>{% if a %}yes, it is{% endif %}</p>", ["yes, it is"]),
    ],
)
def test_bare_words_are_found(template: str, bare: list[str]):
    assert sentences.bare_words(template) == bare


@pytest.mark.parametrize("language", OTHERS)
def test_every_name_of_the_code_that_people_read_is_known(language: str):
    detectors = {path.stem for path in (OPS / "detectors").glob("[a-z]*.py")}
    names = {
        *PRODUCTS, *REMEDIES, *ROLES, *detectors, *("good", "attention", "bad", "blind"),
        *(each.value for kind in (Decline, State, Stage, Post) for each in kind),
    }  # fmt: skip
    assert sorted(names - set(known(language).names)) == []


@pytest.mark.parametrize("language", OTHERS)
def test_runbooks_faults_and_remedies_are_known(language: str):
    runbooks = yaml.safe_load((OPS / "runbooks.yaml").read_text("utf-8"))
    written = {each["title"] for each in runbooks.values()}
    written |= {step["do"] for each in runbooks.values() for step in each["steps"]}
    written |= {each.title for each in FAULTS}
    written |= {each.says for each in REMEDIES.values()}
    assert sorted(written - set(known(language).records)) == []


COMPOSED = {
    "callbacks came twice", "had a wrong PIN beyond the usual", "7: 7", "7: nobody", "cause: 7 7",
    "7, 7 % of what failed", "7 of unknown outcome hang on this", "regulator clock: 7, 7",
    "regulator clock: notice to 7 sent at 7, reference 7",
}  # fmt: skip
"""Parts of sentences, and sentences with a sentence in them: their wholes are in the catalogue."""


@pytest.mark.parametrize("language", OTHERS)
def test_what_ops_refuses_tells_and_writes_down_is_known(language: str):
    with speaking(language):
        unknown = {
            where
            for where, text in sentences.records().items()
            if record(text) == text and text not in COMPOSED
        }
    assert sorted(unknown) == []


# What is said to whom


@pytest.mark.parametrize(
    ("kept", "accepted", "language"),
    [
        ("", "", "en"),
        ("", "fr", "fr"),
        ("", "fr-CD,fr;q=0.9,en;q=0.8", "fr"),
        ("", "en-GB,en;q=0.9,fr;q=0.8", "en"),
        ("", "en;q=0.3, fr;q=0.31", "fr"),
        ("", "de, ln;q=0.9, fr;q=0.1", "fr"),
        ("", "fr;q=0, en;q=0.1", "en"),
        ("", "fr;q=2, *", "en"),
        ("", "fr;q=0.5, *;q=0.9", "en"),
        ("", "fr ; q=1.000", "fr"),
        ("", ";;q=,,=fr" * 200, "en"),
        ("fr", "en", "fr"),
        ("en", "fr", "en"),
        ("xx", "fr", "fr"),
        ("../fr", "", "en"),
    ],
)
def test_the_language_is_the_one_chosen_else_the_one_asked_for(kept, accepted, language):
    assert chosen(kept=kept, accepted=accepted) == language


def test_a_sentence_a_number_of_things_and_their_fields():
    assert _("Remove {who}", who="kofi") == "Remove kofi"
    assert _n("{n} payment", "{n} payments", 1) == "1 payment"
    assert _n("{n} payment", "{n} payments", 0) == "0 payments"
    assert _n("{n} payment", "{n} payments", 12_345) == "12,345 payments"
    with speaking("fr"):
        assert _("Remove {who}", who="kofi") == "Retirer kofi"
        assert _n("{n} payment", "{n} payments", 0) == "0 paiement"
        assert _n("{n} payment", "{n} payments", 1) == "1 paiement"
        assert _n("{n} payment", "{n} payments", 2) == "2 paiements"
        assert _n("{n} payment", "{n} payments", 12_345) == f"12{NBSP}345 paiements"
        assert _("No such sentence {n}", n=1000) == f"No such sentence 1{NBSP}000"


def test_fields_are_put_in_once_and_markup_stays_markup():
    assert _("Remove {who}", who="{who} 100% %s") == "Remove {who} 100% %s"
    said = _("Remove {who}", who=Markup("<b>kofi</b>"))
    assert said == Markup("Remove <b>kofi</b>")
    assert isinstance(said, Markup)
    mixed = _("{person} by {way}", person="<i>", way=Markup("<b>sms</b>"))
    assert mixed == "&lt;i&gt; by <b>sms</b>"


def test_numbers_money_shares_and_times_are_written_as_the_language_does():
    at = datetime(2026, 3, 31, 14, 5, tzinfo=UTC)
    assert (number(1_234_567), number(1234.56, decimals=1)) == ("1,234,567", "1,234.6")
    assert (money("KES 1,234.50"), percent("98.5 %")) == ("KES 1,234.50", "98.5 %")
    assert (day(at), weekday(at)) == ("2026-03-31", "Tue 14:05")
    with speaking("fr"):
        assert number(1_234_567) == f"1{NBSP}234{NBSP}567"
        assert number(-1234.56, decimals=1) == f"-1{NBSP}234,6"
        assert money("CDF 1,234.50") == f"1{NBSP}234,50{NBSP}CDF"
        assert money("-USD 3,400") == f"-3{NBSP}400{NBSP}USD"
        assert percent("98.5 %") == f"98,5{NBSP}%"
        assert figures("1.2 s") == "1,2 s"
        assert (day(at), weekday(at)) == ("31/03/2026", "mar. 14:05")


def test_a_record_is_translated_where_its_pattern_is_known_and_else_marked_as_english():
    text = "opened: 1,234 of 5,000 failed beyond the usual, since 12:00:00 UTC"
    assert (record(text), recorded(text)) == (text, text)
    with speaking("fr"):
        assert record(text) == (
            f"ouvert{NBSP}: 1{NBSP}234 sur 5{NBSP}000 ont échoué au-delà de l’habituel,"
            " depuis 12:00:00 UTC"
        )
        assert record("cause: product send money, 80 % of what failed").startswith("cause")
        assert record(
            "10 customers passed: 305 payments, CDF 140,300, USD 152.12, 28 customers"
        ) == (
            f"10 clients dépassés{NBSP}: 305 paiements, 140{NBSP}300{NBSP}CDF,"
            f" 152,12{NBSP}USD, 28 clients"
        )
        assert record("paging administrator by sms") == "appel de administrator par SMS"
        assert record("seen by sms_receipts too") == "vu aussi par reçus SMS"
        assert recorded("I rang <them>") == '<span lang="en">I rang &lt;them&gt;</span>'
        assert recorded("task 2 for amina: ring <them>") == (
            f"tâche 2 pour amina{NBSP}: ring &lt;them&gt;"
        )
        assert record("x" * 10_000) == "x" * 10_000


def test_no_record_takes_long_to_look_through_whatever_was_written_into_it():
    texts = ["INC S: , " * 440, "a (allowed by b)" * 240, "task 1 for " * 360, "opened: " * 490]
    with speaking("fr"):  # a search that goes back would not come back
        assert all(record(text) for text in texts)


def test_a_pattern_fits_as_wildcards_do():
    with speaking("fr"):
        assert record("task 1 for b: c for d: e") == f"tâche 1 pour b{NBSP}: c for d: e"
        assert record("task 1 for : e") == "task 1 for : e"  # a field has a letter at least
        assert record("task 1 for b: ") == "task 1 for b: "
        assert record("by zz") == "by zz"


def test_names_are_as_people_say_them():
    assert (named("send_money"), named("vendor-liaison")) == ("send money", "vendor liaison")
    with speaking("fr"):
        assert (named("send_money"), named("no_such_name")) == ("envoi d’argent", "no such name")


# Pages


async def test_the_switch_keeps_a_language_and_goes_back_to_where_it_was_used(desk: Desk):
    page = await desk.get("/incidents?state=open")
    assert '<html lang="en">' in page.text
    assert 'name="to" value="/incidents?state=open"' in page.text
    answer = await desk.post("/language", language="fr", to="/incidents?state=open")
    assert (answer.status_code, answer.headers["location"]) == (303, "/incidents?state=open")
    kept = answer.headers["set-cookie"]
    assert "umoja_language=fr" in kept
    assert "HttpOnly" in kept
    assert "Max-Age=31536000" in kept
    page = await desk.get("/sign-in", **{"accept-language": "en"})
    assert '<html lang="fr">' in page.text
    assert "Se connecter" in page.text
    await desk.post("/language", language="en", to="/")
    assert '<html lang="en">' in (await desk.get("/sign-in", **FRENCH)).text


async def test_the_switch_goes_to_no_other_site_and_takes_no_other_language(desk: Desk):
    for to in ("//evil.test", "https://evil.test", "/\\evil.test", ""):
        answer = await desk.post("/language", language="fr", to=to)
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), to
    desk.http.cookies.delete("umoja_language")
    assert (await desk.post("/language", language="xx", to="/")).status_code == 400
    answer = await desk.raw("/language", {"language": "fr", "to": "/", "form_token": "x"})
    assert answer.status_code == 403
    assert "umoja_language" not in desk.http.cookies


async def test_after_a_form_the_switch_goes_back_to_the_page_that_had_it(desk: Desk):
    await desk.get("/sign-in")
    token = {"form_token": desk.http.cookies["umoja_form"]}
    came = {"referer": "http://console.test/sign-in?to=/staff"}
    answer = await desk.raw("/sign-in", token | {"name": "a", "password": "b"}, **came)
    assert 'name="to" value="/sign-in?to=/staff"' in answer.text


async def test_refusals_and_scripts_speak_the_language_of_whoever_asks(desk: Desk):
    answer = await desk.get("/markets/XX", **FRENCH)
    assert answer.status_code == 404
    assert "Cette page n’existe pas" in answer.text
    answer = await desk.get("/markets/XX")
    assert "There is no such page" in answer.text
    page = (await desk.get("/sign-in", **FRENCH)).text
    found = re.search(r'data-words="([^"]*)"', page)
    assert found is not None
    words = json.loads(found[1].replace("&#34;", '"').replace("&#39;", "'").replace("&amp;", "&"))
    assert words["Nothing is heard"] == "On n’entend rien"
    assert "data-words" not in (await desk.get("/sign-in")).text


async def test_the_wall_s_stream_is_rendered_for_each_language(desk: Desk):
    wall = wall_of(desk)
    texts = {}
    for language in ("en", "fr", "en"):
        with speaking(language):
            stream = wall.stream(may_look=lambda: True, is_stopping=lambda: False)
            texts[language] = json.loads((await anext(stream)).data)
            await stream.aclose()
    assert "Payments today" in texts["en"]
    assert "Paiements du jour" in texts["fr"]
    assert english_in(texts["fr"]) == []


ENGLISH = re.compile(
    r"(?<![\w/.-])(?:the|of|and|is|are|was|were|not|no|nobody|nothing|none|by|for|with|without|this|that"
    r"|from|to|it|has|have|who|what|which|when|where|why|every|your|you|now|since|until|ago|all|more)"
    r"(?![\w/-])",
    re.IGNORECASE,
)
"""Words of English that no French sentence has: where one stands, something was not translated."""


def without_english(page: str) -> str:
    return re.sub(r'<(\w+)[^>]* lang="en".*?</\1>', "", page, flags=re.DOTALL)


def english_in(page: str) -> list[str]:
    """Return what is English in a French page, outside what is marked as such."""
    page = without_english(page)
    page = re.sub(
        "The SMS route is dead|Airtime is dead|9 of 10 are missing", "", page
    )  # the toys'
    page = re.sub(r'data-words="[^"]*"|<(code|textarea)\b.*?</\1>', "", page, flags=re.DOTALL)
    texts = re.findall(r"(?<=>)[^<>]+(?=<)", page)
    texts += re.findall(r'(?:title|aria-label|placeholder|alt|label)="([^"]*)"', page)
    return [" ".join(text.split()) for text in texts if ENGLISH.search(text)]


@pytest.fixture
async def worked(desk: Desk) -> Desk:
    """Return a console with an incident in every part of its work, and its administrator."""
    desk.gauge()
    desk.pays(40)
    incident = desk.incident()
    await desk.enter("amina", "administrator")
    desk.staff("kofi", "engineer", "GH")
    for fields in (
        {"act": "acknowledge"},
        {"act": "appoint", "post": "vendor_liaison", "name": "amina"},
        {"act": "task", "what": "Appeler le fournisseur", "owner": "amina"},
        {"act": "task_done", "number": "1"},
        {"act": "tick", "number": "1"},
        {"act": "cause", "kind": "route", "name": "simulated"},
        {"act": "remedy", "remedy": "switch_route", "target": "simulated"},
        {"act": "undo", "number": "1"},
        {"act": "stage", "stage": "resolved"},
        {"act": "review", "summary": "zz", "causes": "zz"},
        {"act": "action", "what": "zz", "owner": "amina", "due": "2026-12-01"},
        {"act": "action_done", "number": "1"},
    ):
        answer = await desk.post(f"/incidents/{incident.id}/acts", **fields)
        assert answer.status_code == 303, (fields, answer.text)
    answer = await desk.post(f"/incidents/{incident.id}/notes", note="Nous cherchons")
    assert answer.status_code == 303
    return desk


PAGES = [
    "/", "/markets/KE", "/markets/KE?span=24h", "/incidents", "/incidents?state=open",
    "/incidents/INC-000001", "/incidents/times", "/on-call", "/staff", "/audit", "/account",
    "/handset", "/drills", "/sign-in", "/alarms", "/silences", "/tokens", "/regulators", "/objectives",
    "/on-call/swaps", "/call-centre", "/incidents/INC-000001/telling",
    "/incidents/INC-000001/make-good", "/incidents/INC-000001/notices",
]  # fmt: skip


async def test_every_page_is_french_for_who_reads_french(worked: Desk, monkeypatch):
    monkeypatch.setitem(known("fr").places, "KE", "Zénia")  # a market that is called otherwise
    for path in PAGES:
        answer = await worked.get(path, **FRENCH)
        assert answer.status_code == 200, path
        assert '<html lang="fr">' in answer.text, path
        assert english_in(answer.text) == [], path
        assert "Kenya" not in without_english(answer.text), path
    for path in ("/markets/KE/live", "/incidents/INC-000001/live"):  # what a script renews
        assert english_in((await worked.get(path, **FRENCH)).text) == [], path
    # What ops wrote about the incident
    page = (await worked.get("/incidents/INC-000001", **FRENCH)).text
    assert "étape 1 de la fiche faite" in page
    assert f"cause{NBSP}: route simulated" in page
    assert f"tâche 1 pour amina{NBSP}: Appeler le fournisseur" in page
    assert "<span>Nous cherchons</span>" in page  # as staff wrote it, and not marked as English
    marked = re.findall(r'<span lang="en">(.*?)</span>', page)
    # The evidence of this test's own finding, and no sentence of ops.
    assert [each for each in marked if "9 of 10 are missing" not in each] == []
