"""The crash harness's checker sees every kind of lie: logs and journals are falsified one by one."""

from dataclasses import replace

import msgspec
import pytest

from umoja.simulator.crash_check import Course, Line, check
from umoja.simulator.crash_log import Asked, Log, Told, read

ORDER = "0a" * 16
OTHER = "0b" * 16


def asked(n, at, key, does="pay", minor=500, **rest):
    return Asked(n=n, at=at, does=does, key=key, payer=11, payee=12, minor=minor, **rest)


def done(n, at, order=ORDER, receipt="AAAAAAAAAA", state="completed"):
    return Told(n=n, at=at, how="done", order=order, receipt=receipt, state=state)


def line(sequence, key, order=ORDER, receipt="AAAAAAAAAA", step="booked", state="completed"):
    return Line(
        sequence=sequence,
        order=order,
        key=key,
        step=step,
        state=state,
        receipt=receipt,
        payer=11,
        payee=12,
        minor=500,
    )


def story():
    """Return an honest story: one payment told at once, one after a lost answer, and two reads."""
    log = [
        asked(1, 10, "k1"),
        done(1, 20),
        Asked(n=2, at=30, does="read", party=11),
        Told(n=2, at=40, how="balance", available=9_500),
        asked(3, 50, "k2"),
        Told(n=3, at=60, how="unknown"),
        asked(4, 70, "k2", does="find"),
        Told(n=4, at=80, how="absent"),
        asked(5, 90, "k2"),
        done(5, 100, order=OTHER, receipt="BBBBBBBBBB"),
        Asked(n=6, at=110, does="read", party=11),
        Told(n=6, at=120, how="balance", available=9_000),
    ]
    journal = [line(5, "k1"), line(6, "k2", order=OTHER, receipt="BBBBBBBBBB")]
    course = Course()
    for sequence, available in ((1, 10_000), (5, 9_500), (6, 9_000)):
        course.add(sequence, available, 0)
    return log, journal, {11: course}


def untrue(available, line):
    return (
        f"read: party 11 was told to have {available} and 0 held,"
        f" which was so after none of the lines {line} to {line}"
    )


def judged(log, journal, courses, head=6):
    return check({"c0": log}, journal, courses, head=head)


def test_an_honest_story_is_found_right_and_counted():
    verdict = judged(*story())

    assert verdict.violations == ()
    assert (verdict.asked, verdict.acknowledged, verdict.unknown, verdict.resolved) == (2, 2, 1, 1)
    assert (verdict.reads, verdict.lines) == (2, 2)


def test_an_acknowledged_payment_that_is_missing_is_seen():
    log, journal, courses = story()
    verdict = judged(log, journal[:1], courses)
    assert "missing: k2 was acknowledged, and the journal does not have it" in verdict.violations


def test_a_payment_booked_twice_is_seen():
    log, journal, courses = story()
    verdict = judged(log, [*journal, replace(journal[1], sequence=7)], courses, head=7)
    assert "doubled: k2 was booked 2 times" in verdict.violations


def test_one_key_that_became_two_payments_is_seen():
    log, journal, courses = story()
    twin = line(7, "k2", order="0c" * 16, receipt="CCCCCCCCCC")
    verdict = judged(log, [*journal, twin], courses, head=7)
    assert f"doubled: k2 is 2 payments: {OTHER}, {'0c' * 16}" in verdict.violations


def test_a_receipt_given_twice_is_seen():
    log, journal, courses = story()
    journal[1] = replace(journal[1], receipt="AAAAAAAAAA")
    found = judged(log, journal, courses).violations
    assert "doubled: receipt AAAAAAAAAA was given to two payments" in found
    assert "missing: k2: the journal does not have receipt BBBBBBBBBB" in found


def test_two_different_answers_about_one_key_are_seen():
    log, journal, courses = story()
    log += [asked(7, 130, "k1"), done(7, 140, receipt="ZZZZZZZZZZ")]
    found = judged(log, journal, courses).violations
    assert "contradiction: k1 was told receipts AAAAAAAAAA, ZZZZZZZZZZ" in found


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (Told(n=7, at=140, how="refused", word="not_enough"), "was done, and then refused: not_enough"),
        (Told(n=7, at=140, how="absent"), "was known, and then there was no such payment"),
        (done(7, 140, state="awaiting_confirmation"), "went back to awaiting_confirmation"),
    ],
)  # fmt: skip
def test_a_done_payment_that_is_taken_back_is_seen(told, sentence):
    log, journal, courses = story()
    log += [asked(7, 130, "k1"), told]
    assert f"contradiction: k1 {sentence}" in judged(log, journal, courses).violations


def test_a_refusal_that_was_done_after_all_is_seen():
    log, journal, courses = story()
    log[1] = Told(n=1, at=20, how="refused", word="not_enough", order=ORDER)
    log += [asked(7, 130, "k1"), done(7, 140)]
    found = judged(log, journal, courses).violations
    assert "contradiction: k1 was refused for good, and then it was done" in found


def test_what_was_said_not_to_have_happened_and_did_is_seen():
    log, journal, courses = story()
    log[1] = Told(n=1, at=20, how="nothing", word="unavailable")
    found = judged(log, journal, courses).violations
    assert "contradiction: nothing had happened of k1, it was told, and it was kept" in found


def test_an_unknown_outcome_that_nobody_resolved_is_seen():
    log, journal, courses = story()
    verdict = judged(log[:6], journal, courses)
    assert "unresolved: nobody ever learnt what became of k2" in verdict.violations
    assert (verdict.unknown, verdict.resolved) == (1, 0)


def test_a_question_without_any_answer_is_unresolved():
    log, journal, courses = story()
    found = judged(log[:5], journal, courses).violations
    assert found == ("unresolved: nobody ever learnt what became of k2",)


def test_a_payment_that_nobody_asked_for_is_seen():
    log, journal, courses = story()
    journal.append(line(7, "x9", order="0c" * 16, receipt="CCCCCCCCCC"))
    found = judged(log, journal, courses, head=7).violations
    assert "phantom: the journal has a payment x9 that nobody asked for" in found


def test_another_amount_than_was_asked_is_seen():
    log, journal, courses = story()
    journal[0] = replace(journal[0], minor=501)
    assert "altered: k1 is not what was asked" in judged(log, journal, courses).violations


def test_a_reversal_that_was_told_and_not_kept_is_seen():
    log, journal, courses = story()
    log += [asked(7, 130, "k1", does="reverse"), done(7, 140, state="reversal_asked")]
    found = judged(log, journal, courses).violations
    assert "missing: k1: reverse was told reversal_asked, never kept" in found


def test_a_journal_against_the_order_of_time_is_seen():
    log, journal, courses = story()
    journal = [line(6, "k1"), line(5, "k2", order=OTHER, receipt="BBBBBBBBBB")]
    found = judged(log, journal, courses).violations
    assert "order: k2 is line 5, and was asked after line 6 was told" in found


@pytest.mark.parametrize("available", [9_500, 10_000, 8_999])
def test_a_balance_that_nobody_had_then_is_seen(available):
    """It is one of before (which somebody knew to be over), one of long ago, or of no moment at all."""
    log, journal, courses = story()
    log[-1] = Told(n=6, at=120, how="balance", available=available)
    found = judged(log, journal, courses).violations
    assert found == (untrue(available, 6),)


def test_a_balance_that_was_told_before_it_was_so_is_seen():
    log, journal, courses = story()
    log[3] = Told(n=2, at=40, how="balance", available=9_000)
    found = judged(log, journal, courses).violations
    assert found == (untrue(9_000, 5),)


def test_an_answer_to_no_question_is_seen():
    log, journal, courses = story()
    found = judged([*log, done(99, 200)], journal, courses).violations
    assert found == ("log: c0 was told of attempt 99, which it never made",)


def test_many_violations_of_one_kind_are_counted_and_hide_no_other():
    log, _, courses = story()
    log += [
        entry
        for n in range(100, 150)
        for entry in (asked(n, n * 10, f"m{n}"), done(n, n * 10 + 5, order=f"{n:032d}", receipt=""))
    ]
    found = judged(log, [], courses, head=1).violations
    assert "missing: and 32 more" in found
    assert any(sentence.startswith("read: ") for sentence in found)


def test_a_log_is_read_back_and_a_line_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "client-0.log"
    log = Log(path)
    entries = story()[0]
    for entry in entries:
        log.write(entry)
    log.close()
    with path.open("ab") as file:
        file.write(msgspec.json.encode(entries[0])[:20])

    assert read(path) == entries
