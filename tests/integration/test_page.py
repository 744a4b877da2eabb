"""The web page in a real browser: Debian's Chromium without a window, against a small server that answers by rule."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
from page_server import KEY, TEXT, Seen, ask, drop, make_app, opened, serving, write  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")
expect = api.expect
ATTACK = "<img src=x onerror='window.hit=1'>"


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, Seen]]:
    """(address, what the server saw and shall do)"""
    seen = Seen()
    with serving(make_app(seen)) as (url, _):
        yield url, seen


@pytest.fixture
def seen(served: tuple[str, Seen]) -> Seen:
    served[1].__init__()  # type: ignore[misc]
    return served[1]


@pytest.fixture(scope="module")
def window() -> Iterator[Any]:
    """One page of one browser: a new one for each test would take most of the time."""
    api.expect.set_options(timeout=60_000)
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page(reduced_motion="reduce", has_touch=True)
        page.set_default_timeout(60_000)
        yield page
        chromium.close()


@pytest.fixture
def harmless() -> list[str]:
    """Beginnings of what the browser may say; a test adds its own."""
    return ["Failed to load resource"]


@pytest.fixture
def page(window: Any, served: tuple[str, Seen], seen: Seen, harmless: list[str]) -> Iterator[Any]:
    """The page, opened."""
    with opened(window, served[0], harmless):
        yield window


# ---- asking


@in_browser
def test_the_answer_is_marked_in_its_place(page: Any, seen: Seen) -> None:
    ask(page, "Who, 'Maud Hale', 'Rory Finch' or 'Maud left'?")
    expect(page.locator("mark")).to_have_text("Maud Hale")
    assert seen.bodies == [
        {"question": "Who, 'Maud Hale', 'Rory Finch' or 'Maud left'?", "context": TEXT, "model": "reader"}
    ]
    assert page.locator("#reading").inner_text() == TEXT
    around = page.evaluate("document.querySelector('mark').previousSibling.textContent")
    assert around.endswith("first.\n\n")  # two characters before it are two units each
    expect(page.locator("#reading .evidence")).to_have_text(" built the mill at Aldon 👩‍🌾.")
    expect(page.locator("#answer blockquote")).to_have_text("Maud Hale built the mill at Aldon 👩‍🌾.")
    expect(page.locator(".score")).to_have_text("calibrated score 0.82")
    expect(page.locator("#live")).to_have_text("Answer: Maud Hale. Score 0.82.")
    assert page.locator("#reading .other").all_inner_texts() == ["Rory Finch", "Maud left"]


@in_browser
def test_another_answer_is_shown_when_it_is_chosen(page: Any) -> None:
    ask(page, "Who, 'Maud Hale', 'Rory Finch' or 'Maud left'?")
    last = page.locator(".others .spot").nth(1)
    last.click()
    expect(page.locator("mark")).to_have_text("Maud left")
    expect(page.locator("mark")).to_be_in_viewport()  # it is the text's end: the box has scrolled
    expect(last).to_have_attribute("aria-pressed", "true")
    page.click(".spot.best")
    expect(page.locator("mark")).to_have_text("Maud Hale")
    expect(page.locator("mark")).to_be_in_viewport()
    page.click("#text-edit")
    assert page.input_value("#text") == TEXT


@in_browser
def test_no_answer_is_said_in_words(page: Any) -> None:
    ask(page, "Who, 'Maud Hale'?")
    expect(page.locator("mark")).to_be_visible()
    page.fill("#question", "Who, nobody, 'Rory Finch'?")
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_contain_text("The text does not seem to answer this question.")
    expect(page.locator("#answer")).to_contain_text("Not all of the text was read: read the first 4 of 9 passages.")
    expect(page.locator("mark")).to_have_count(0)
    page.click(".others .spot")
    expect(page.locator("mark")).to_have_text("Rory Finch")


@in_browser
def test_what_is_missing_is_asked_for(page: Any, seen: Seen) -> None:
    page.keyboard.press("Control+Enter")
    expect(page.locator("#question-note")).to_contain_text("Give a text first")
    expect(page.locator("#text")).to_be_focused()
    page.click("#example")
    page.fill("#question", " ")
    page.click("#ask-go")
    expect(page.locator("#question-note")).to_have_text("Write a question first.")
    assert seen.bodies == []


@in_browser
def test_a_question_can_be_stopped(page: Any) -> None:
    ask(page, "Is it slow?")
    expect(page.locator("#progress")).to_contain_text("characters")
    page.keyboard.press("Escape")
    expect(page.locator("#ask-go")).to_be_visible()
    expect(page.locator("#answer")).to_contain_text("will stand here")


# ---- files


@in_browser
def test_files_are_opened_and_dropped(page: Any, tmp_path: Path, harmless: list[str]) -> None:
    harmless += ["Applying inline style", "Executing inline event"]  # of the dropped file: the policy holds there too
    html = tmp_path / "belm.html"
    html.write_text(
        f"<title>t</title><style>p{{}}</style><h1>Belm</h1><script>window.hit=1</script>{ATTACK}"
        "<p>Rory\n Finch &amp; <b>Ma</b>ud</p><table><tr><td>a</td><td>b</td></tr></table>",
        encoding="utf-8",
    )
    page.set_input_files("#file", html)
    expect(page.locator("#text-note")).to_have_text("belm.html")
    assert page.input_value("#text").split("\n") == ["Belm", "", "Rory Finch & Maud", "", "a\tb"]
    drop(page, "wend.txt", "Über\r\nalles")
    expect(page.locator("#text")).to_have_value("Über\nalles")
    for name, content, words in (
        ("report.pdf", "%PDF", "cannot read .pdf files, only .txt, .md and .html. On the command line: textfer ask"),
        ("a.txt", "\0\1", "does not hold text"),
        ("a.md", "  ", "holds no text"),
    ):
        drop(page, name, content)
        expect(page.locator("#text-note")).to_contain_text(words)
    assert page.input_value("#text") == "Über\nalles"
    assert page.evaluate("window.hit") is None


# ---- writing


@in_browser
def test_text_streams(page: Any, seen: Seen) -> None:
    write(page, "translate", "The mill.")
    page.fill("#to", "French")
    expect(page.locator("#prefix")).to_have_value("translate English to French: ")
    page.click("#write-go")
    expect(page.locator(".written")).to_have_text("Die Mühle am Fluss wurde von Maud Hale gebaut. ")
    expect(page.locator(".facts >> visible=true")).to_contain_text("9 words")
    assert seen.bodies[0]["text"] == "translate English to French: The mill."
    assert seen.bodies[0]["stream"] is True


@in_browser
def test_writing_can_be_stopped(page: Any, seen: Seen) -> None:
    write(page, "free", "endless")
    page.click("#write-go")
    expect(page.locator(".written")).to_contain_text("gebaut.")
    page.click("#write-stop")
    expect(page.locator(".facts >> visible=true")).to_contain_text("stopped")
    written = page.inner_text(".written")
    page.wait_for_timeout(100)
    assert page.inner_text(".written") == written
    assert seen.left == 1


@in_browser
@pytest.mark.parametrize(
    ("text", "words"), [("fails", "The server could not finish."), ("breaks", "broke off before the end")]
)
def test_what_was_written_stays_when_the_rest_fails(page: Any, text: str, words: str) -> None:
    write(page, "summarize", text)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#output .problem")).to_contain_text(words)
    expect(page.locator(".written")).to_contain_text("gebaut.")


@in_browser
def test_labels_have_bars(page: Any, seen: Seen) -> None:
    write(page, "classify", "A lovely film.")
    page.fill("#labels", "blame")
    page.click("#write-go")
    expect(page.locator("#input-note")).to_contain_text("two different labels")
    page.fill("#labels", "blame, praise,blame")
    page.click("#write-go")
    expect(page.locator(".label")).to_have_text("praise")
    assert [re.sub(r"\s+", " ", row) for row in page.locator(".bars li").all_inner_texts()] == [
        "praise 75.0 %",
        "blame 25.0 %",
    ]
    widths = [box["width"] for box in (bar.bounding_box() for bar in page.locator(".bars i").all())]
    assert widths[0] == pytest.approx(3 * widths[1], rel=0.02)
    assert seen.bodies[0]["choices"] == ["blame", "praise"]


@in_browser
def test_a_model_with_labels_of_its_own(page: Any, seen: Seen) -> None:
    write(page, "classify", "A lovely film.")
    assert page.locator("#write-model option").all_inner_texts() == ["reader", "films", "films:kind"]
    page.select_option("#write-model", "films:kind")
    expect(page.locator("#labels")).to_be_disabled()
    expect(page.locator("#labels-hint")).to_have_text("This model has its own: negative, positive.")
    page.click("#write-go")
    expect(page.locator(".label")).to_have_text("positive")
    assert seen.bodies == [{"text": "A lovely film.", "model": "films:kind", "choices": None}]
    page.select_option("#write-model", "reader")
    expect(page.locator("#labels")).to_be_enabled()


# ---- runs


@in_browser
def test_a_run_is_watched(page: Any, seen: Seen) -> None:
    page.click("#tab-runs")
    expect(page.locator("#run-state")).to_contain_text("step 200 of 400")
    assert page.locator("figcaption b").all_inner_texts() == [
        "em",
        "f1",
        "Loss",
        "Learning rate",
        "Gradient norm",
        "Tokens per second",
    ]
    assert page.locator("polyline.line").count() == 6
    expect(page.locator(".sample .same")).to_have_text("Maud Hale")
    seen.step = 400  # nothing is pressed: the page asks again by itself
    expect(page.locator("#run-state")).to_contain_text("step 400 of 400, finished")
    page.select_option("#run", "other/one")
    expect(page.locator("#run-state")).to_contain_text("finished")
    seen.status = 500
    expect(page.locator("#run-body")).to_contain_text("Something failed in the server")
    seen.status, seen.runs = 200, False
    expect(page.locator("#run-body")).to_contain_text("There are no runs")


# ---- errors


@in_browser
def test_a_key_is_asked_for_and_kept_for_the_session(page: Any, seen: Seen) -> None:
    seen.wants_key = True
    page.reload()
    page.fill("#key", "wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#key-why")).to_have_text("That key was not accepted.")
    page.fill("#key", KEY)
    page.click("#key-use")
    ask(page, "Who, 'Maud Hale'?")
    expect(page.locator("mark")).to_have_text("Maud Hale")
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
    page.reload()
    expect(page.locator("#ask-model option")).to_have_count(2)


@in_browser
def test_without_a_key_it_is_said(page: Any, seen: Seen) -> None:
    seen.wants_key = True
    page.reload()
    page.click("#key-cancel")
    expect(page.locator("#banner")).to_contain_text("wants an API key")


@in_browser
def test_a_busy_server_is_asked_again(page: Any, seen: Seen) -> None:
    seen.busy = 1
    ask(page, "Who, 'Maud Hale'?")
    expect(page.locator("#progress")).to_contain_text("busy. Asking again in 1 s")
    expect(page.locator("mark")).to_have_text("Maud Hale")
    seen.busy = 9
    page.click("#ask-go")
    expect(page.locator("#answer .problem")).to_contain_text("busy with other requests")
    assert seen.busy == 5  # once and three times again


@in_browser
@pytest.mark.parametrize(
    ("status", "words", "again"),
    [
        (413, "The text is longer than this server takes.", False),
        (422, "The server did not accept this.", False),
        (500, "Something failed in the server", True),
        (504, "took too long", True),
    ],
)
def test_errors_are_told_in_words(page: Any, seen: Seen, status: int, words: str, again: bool) -> None:
    seen.status = status
    ask(page, "Who, 'Maud Hale'?")
    problem = page.locator("#answer [role=alert]")
    expect(problem).to_contain_text(words)
    expect(problem).to_contain_text("as the test wants it.")
    seen.status = 200
    expect(problem.get_by_role("button")).to_have_count(int(again))
    # a banner may offer the same beside it
    (problem.get_by_role("button", name="Try again") if again else page.locator("#ask-go")).click()
    expect(page.locator("mark")).to_have_text("Maud Hale")


@in_browser
def test_a_server_that_is_gone_is_said(page: Any) -> None:
    page.context.set_offline(True)
    ask(page, "Who?")
    expect(page.locator("#answer .problem")).to_contain_text("The server cannot be reached. Is it still running?")
    page.context.set_offline(False)


# ---- texts are texts


@in_browser
def test_nothing_that_is_read_becomes_html(page: Any, harmless: list[str]) -> None:
    harmless.append("This document requires 'TrustedHTML'")
    ask(page, f"Who, '{ATTACK.replace(chr(39), '')}'?", TEXT + ATTACK.replace("'", ""))
    expect(page.locator("mark")).to_have_text(ATTACK.replace("'", ""))
    write(page, "classify", ATTACK)
    page.fill("#labels", f"{ATTACK}, <b>bold</b>")
    page.click("#write-go")
    expect(page.locator(".label")).to_have_text("<b>bold</b>")
    assert page.locator("main img, main b:has(+ *), main script").count() == 0
    refused = page.evaluate("() => { try { document.body.innerHTML = '<p>x'; } catch (error) { return error.name; } }")
    assert refused == "TypeError"  # the policy: the browser itself refuses
    assert page.evaluate("window.hit") is None


@in_browser
def test_half_a_character_is_no_error(page: Any, seen: Seen) -> None:
    page.evaluate("text => { document.getElementById('text').value = text; }", "Maud")
    page.evaluate("() => { const t = document.getElementById('text'); t.value = '\\ud83d ' + t.value; }")
    page.fill("#question", "Who, 'Maud'?")
    page.keyboard.press("Enter")
    expect(page.locator("mark")).to_have_text("Maud")
    assert seen.bodies[0]["context"] == "\ufffd Maud"


# ---- keyboard, sizes, colours


@in_browser
def test_tabs_by_arrow_keys(page: Any) -> None:
    page.locator("#tab-ask").focus()
    for key, name in (
        ("ArrowRight", "write"),
        ("End", "runs"),
        ("ArrowRight", "ask"),
        ("ArrowLeft", "runs"),
        ("Home", "ask"),
    ):
        page.keyboard.press(key)
        expect(page.locator(f"#tab-{name}")).to_be_focused()
        expect(page.locator("[role=tabpanel] >> visible=true")).to_have_id(name)
        assert page.locator("[role=tab][tabindex='-1']").count() == 2
    assert page.url.endswith("#ask")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@in_browser
def test_everything_has_a_name_and_a_place_in_the_order(page: Any) -> None:
    ask(page, "Who, 'Maud Hale', 'Rory Finch'?")
    expect(page.locator("mark")).to_be_visible()
    for tab in ("ask", "write", "runs"):
        page.click(f"#tab-{tab}")
        for control in page.locator("button:visible, input:visible, select:visible, textarea:visible").all():
            assert control.evaluate("e => (e.labels?.length ? e.labels[0].innerText : e.innerText).trim()"), control


@in_browser
def test_on_a_phone_nothing_is_wider_than_the_screen(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    ask(page, "Who, 'Maud Hale', 'Rory Finch'?")
    expect(page.locator("mark")).to_have_text("Maud Hale")
    for tab in ("ask", "write", "runs"):
        page.click(f"#tab-{tab}")
        expect(page.locator(f"#{tab}")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 360


@in_browser
def test_light_and_dark(page: Any) -> None:
    lightness = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    assert page.evaluate(lightness) > 200
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert page.evaluate(lightness) < 60
    page.emulate_media(color_scheme="light", reduced_motion="reduce")


# ---- with the server itself


@in_browser
def test_with_a_model_that_is_served(window: Any, model: Path, harmless: list[str], one_thread: None) -> None:
    from textfer.serve.app import make_app as real_app
    from textfer.serve.service import Service
    from textfer.serve.shelf import open_shelf

    key = "a-key-of-the-tests"
    shelf = open_shelf({"tiny": str(model)}, {})
    app = real_app(Service(shelf, keys=[key], runs_dir=model.parent))
    with serving(app) as (url, _), opened(window, url, harmless):
        window.fill("#key", key)
        window.keyboard.press("Enter")
        expect(window.locator("#ask-model")).to_have_text("tiny")
        ask(window, "Who built the mill?", TEXT[:60])
        expect(window.locator("#answer h2").first).to_have_text(re.compile("Answer|No answer"))
        write(window, "classify", "A lovely film.")
        window.fill("#labels", "praise, blame")
        window.click("#write-go")
        expect(window.locator(".bars li")).to_have_count(2)
        window.check("input[value=summarize]", force=True)
        window.select_option("#most", "60")
        window.click("#write-go")
        expect(window.locator("#output")).to_contain_text(re.compile(r"\d+ words?|wrote nothing"))
        window.click("#tab-runs")
        expect(window.locator("#run-state")).to_contain_text("step 4 of 4, finished")
        expect(window.locator("figcaption b").first).to_have_text("em")
        expect(window.locator(".sample").first).to_be_visible()
    shelf.close()
