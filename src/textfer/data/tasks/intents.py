"""What somebody wants of an assistant (intents), and the details they name (slots, said as in tagging.py).

Class ids become words: `book_flight` is `book flight`, `atis_flight#atis_airfare` is `flight and airfare`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from textfer.batch import Example, Row
from textfer.data.fields import text_field, wrong
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.classes import NO_HUB, TextSet, declare, readable
from textfer.data.tasks.forms import ToExamples, by_label, labelled, row_id, stripped, with_facts
from textfer.data.tasks.tagging import iob, mark_entities, sentence_example, tagged
from textfer.metrics import accuracy

FAMILY = "intent and slots"


def _split(ids: str) -> tuple[str, ...]:
    return tuple(ids.split())


BANKING77 = readable(
    "activate_my_card age_limit apple_pay_or_google_pay atm_support automatic_top_up "
    "balance_not_updated_after_bank_transfer balance_not_updated_after_cheque_or_cash_deposit beneficiary_not_allowed "
    "cancel_transfer card_about_to_expire card_acceptance card_arrival card_delivery_estimate card_linking "
    "card_not_working card_payment_fee_charged card_payment_not_recognised card_payment_wrong_exchange_rate "
    "card_swallowed cash_withdrawal_charge cash_withdrawal_not_recognised change_pin compromised_card "
    "contactless_not_working country_support declined_card_payment declined_cash_withdrawal declined_transfer "
    "direct_debit_payment_not_recognised disposable_card_limits edit_personal_details exchange_charge exchange_rate "
    "exchange_via_app extra_charge_on_statement failed_transfer fiat_currency_support get_disposable_virtual_card "
    "get_physical_card getting_spare_card getting_virtual_card lost_or_stolen_card lost_or_stolen_phone "
    "order_physical_card passcode_forgotten pending_card_payment pending_cash_withdrawal pending_top_up "
    "pending_transfer pin_blocked receiving_money refund_not_showing_up request_refund reverted_card_payment "
    "supported_cards_and_currencies terminate_account top_up_by_bank_transfer_charge top_up_by_card_charge "
    "top_up_by_cash_or_cheque top_up_failed top_up_limits top_up_reverted topping_up_by_card "
    "transaction_charged_twice transfer_fee_charged transfer_into_account transfer_not_received_by_recipient "
    "transfer_timing unable_to_verify_identity verify_my_identity verify_source_of_funds verify_top_up "
    "virtual_card_not_working visa_or_mastercard why_verify_identity wrong_amount_of_cash_received "
    "wrong_exchange_rate_for_cash_withdrawal"
)
CLINC150 = readable(
    "accept_reservations account_blocked alarm application_status apr are_you_a_bot balance bill_balance bill_due "
    "book_flight book_hotel calculator calendar calendar_update calories cancel cancel_reservation car_rental "
    "card_declined carry_on change_accent change_ai_name change_language change_speed change_user_name change_volume "
    "confirm_reservation cook_time credit_limit credit_limit_change credit_score current_location damaged_card date "
    "definition direct_deposit directions distance do_you_have_pets exchange_rate expiration_date find_phone "
    "flight_status flip_coin food_last freeze_account fun_fact gas gas_type goodbye greeting how_busy how_old_are_you "
    "improve_credit_score income ingredient_substitution ingredients_list insurance insurance_change interest_rate "
    "international_fees international_visa jump_start last_maintenance lost_luggage make_call maybe meal_suggestion "
    "meaning_of_life measurement_conversion meeting_schedule min_payment mpg new_card next_holiday next_song no "
    "nutrition_info oil_change_how oil_change_when order order_checks order_status pay_bill payday pin_change "
    "play_music plug_type pto_balance pto_request pto_request_status pto_used recipe redeem_rewards reminder "
    "reminder_update repeat replacement_card_duration report_fraud report_lost_card reset_settings "
    "restaurant_reservation restaurant_reviews restaurant_suggestion rewards_balance roll_dice rollover_401k routing "
    "schedule_maintenance schedule_meeting share_location shopping_list shopping_list_update smart_home spelling "
    "spending_history sync_device taxes tell_joke text thank_you time timer timezone tire_change tire_pressure "
    "todo_list todo_list_update traffic transactions transfer translate travel_alert travel_notification "
    "travel_suggestion uber update_playlist user_name vaccines w2 weather what_are_your_hobbies what_can_i_ask_you "
    "what_is_your_name what_song where_are_you_from whisper_mode who_do_you_work_for who_made_you yes"
)
HWU64 = readable(
    "alarm_query alarm_remove alarm_set audio_volume_down audio_volume_mute audio_volume_up calendar_query "
    "calendar_remove calendar_set cooking_recipe datetime_convert datetime_query email_addcontact email_query "
    "email_querycontact email_sendemail general_affirm general_commandstop general_confirm general_dontcare "
    "general_explain general_joke general_negate general_praise general_quirky general_repeat iot_cleaning iot_coffee "
    "iot_hue_lightchange iot_hue_lightdim iot_hue_lightoff iot_hue_lighton iot_hue_lightup iot_wemo_off iot_wemo_on "
    "lists_createoradd lists_query lists_remove music_likeness music_query music_settings news_query play_audiobook "
    "play_game play_music play_podcasts play_radio qa_currency qa_definition qa_factoid qa_maths qa_stock "
    "recommendation_events recommendation_locations recommendation_movies social_post social_query takeaway_order "
    "takeaway_query transport_query transport_taxi transport_ticket transport_traffic weather_query"
)
DOMAINS = {
    "banking": _split(
        "account_blocked bill_balance interest_rate order_checks pay_bill pin_change report_fraud routing "
        "spending_history transactions"
    ),
    "credit_cards": _split(
        "apr card_declined credit_limit credit_limit_change credit_score damaged_card expiration_date "
        "international_fees new_card redeem_rewards"
    ),
}
OOS = "out of scope"
OOS_IDS = (*DOMAINS["banking"], *DOMAINS["credit_cards"], "oos")
OOS_WORDS = (*readable(" ".join(OOS_IDS[:-1])), OOS)
SNIPS_IDS = _split("AddToPlaylist BookRestaurant GetWeather PlayMusic RateBook SearchCreativeWork SearchScreeningEvent")
ATIS_WORDS = _split(
    "abbreviation aircraft aircraft#flight#flight_no airfare airfare#flight airfare#flight_time airline "
    "airline#flight_no airport capacity cheapest city day_name distance flight flight#airfare flight#airline "
    "flight_no flight_no#airline flight_time ground_fare ground_service ground_service#ground_fare meal quantity "
    "restriction"
)
ATIS_IDS = tuple("#".join(f"atis_{part}" for part in one.split("#")) for one in ATIS_WORDS)


def slot_words(label: str) -> str:
    """A slot's name as words: `fromloc.city_name` → `fromloc city name`, `timeRange` → `time range`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", label).lower().replace("_", " ").replace(".", " ")


def mark_scope(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """`accuracy` over all, `in_scope_accuracy`, and `oos_recall`: the share of the out-of-scope queries found."""
    found = [str(answer).strip() for answer in answers]
    golds = [example.targets for example in examples]
    known = [place for place, gold in enumerate(golds) if gold != OOS]
    others = [place for place, gold in enumerate(golds) if gold == OOS]
    inside = accuracy([found[place] for place in known], [golds[place] for place in known])
    outside = accuracy([found[place] for place in others], [golds[place] for place in others])
    return {**accuracy(found, golds), "in_scope_accuracy": inside["accuracy"], "oos_recall": outside["accuracy"]}


def _scope_facts(row: Row, origin: str) -> dict[str, tuple[str, ...]]:
    domain = text_field(row, "domain", origin)
    if domain not in DOMAINS:
        raise wrong(domain, "domain", origin, f"one of {', '.join(DOMAINS)}")
    return {"choices": (*readable(" ".join(DOMAINS[domain])), OOS)}


def _scope_examples(row: Row, origin: str) -> Iterable[Example]:
    read = labelled("clinc_single_domain_oos", ("text", "domain"), OOS_WORDS, values=OOS_IDS)
    for example in with_facts(read, _scope_facts)(row, origin):
        if example.targets not in example.facts["choices"]:
            raise wrong(row["label"], "label", origin, f"an intent of {row['domain']}")
        yield example


def _slots(name: str) -> ToExamples:
    """Rows of tuetschek/atis: words in `text` and IOB tags in `slots`, both joined by blanks."""

    def examples(row: Row, origin: str) -> Iterable[Example]:
        tokens, tags = text_field(row, "text", origin).split(), text_field(row, "slots", origin).split()
        if len(tags) != len(tokens) or not tokens:
            raise wrong(row["slots"], "slots", origin, f"as many tags as the text has words, {len(tokens)}, at least 1")
        for tag in tags:
            if tag != "O" and not re.fullmatch("[BI]-.+", tag):
                raise wrong(tag, "slots", origin, "only O, B-… and I-…")
        words = [tag if tag == "O" else tag[:2] + slot_words(tag[2:]) for tag in tags]
        yield sentence_example(name, tokens, words, origin, facts=row_id(row))

    return examples


declare(
    FAMILY,
    TextSet(
        "banking77",
        "PolyAI/banking77",
        BANKING77,
        "what a customer wants of a bank: 77 intents",
        "CC BY 4.0",
        ("How do I switch my new card on?", "Is my son old enough for an account?", "Can I pay with my watch?"),
        train_ok=True,
        sizes={"train": 10_003, "test": 3_080},
    ),
    TextSet(
        "clinc_oos",
        "clinc/clinc_oos",
        CLINC150,
        "what a user wants of an assistant: 150 intents of ten domains, all in scope",
        "CC BY 3.0",
        ("does the mill inn take bookings", "why can i not get at my money", "wake me at six"),
        config="in_scope",
        train_ok=True,
        sizes={"train": 15_000, "validation": 3_000, "test": 4_500},
        schema=f"{NO_HUB}; class indices are alphabetical, not the hub's",
    ),
    TextSet(
        "hwu_64",
        "FastFit/hwu_64",
        HWU64,
        "what a user wants of an assistant at home: 64 intents",
        "CC BY-SA 3.0",
        ("is there an alarm for tomorrow", "no alarm tomorrow please", "an alarm for six"),
        train_ok=True,
        sizes={"train": 8_954, "validation": 1_076, "test": 1_076},
        schema=f"{NO_HUB}; class indices are alphabetical",
    ),
)
register(
    Task(
        name="clinc_single_domain_oos",
        source=Source(name="clinc/clinc_single_domain_oos", columns=("domain", "text", "label")),
        to_examples=_scope_examples,
        choices=OOS_WORDS,
        metrics=mark_scope,
        answer=stripped,
        family=FAMILY,
        summary="what a customer wants of a bank or a card firm, or that it is none of ten known things",
        licence="CC BY 3.0",
        train_ok=True,
        schema=NO_HUB,
        sample=(
            {"domain": "banking", "text": "may i have new checks", "label": "order_checks"},
            {"domain": "credit_cards", "text": "my dog ate my card", "label": "damaged_card"},
            {"domain": "banking", "text": "how deep is the well of aldon", "label": "oos"},
        ),
    )
)


class _Assistant(NamedTuple):
    """A set of utterances in the columns of tuetschek/atis: one intent each, and a slot tag for every word."""

    name: str
    source: str
    intents: tuple[str, ...]
    words: tuple[str, ...]
    """The intents said as words."""
    licence: str
    train_ok: bool
    schema: str
    sizes: Mapping[str, int]
    utterances: tuple[tuple[str, str, str], ...]
    """Samples: intent, text, slots."""


ASSISTANTS = (
    _Assistant(
        "snips",
        "snips/snips_nlu",
        SNIPS_IDS,
        tuple(slot_words(intent) for intent in SNIPS_IDS),
        "CC0-1.0",
        True,
        NO_HUB,
        {"train": 13_084, "validation": 700, "test": 700},
        (
            ("PlayMusic", "play the mill song by maud hale", "O O B-track I-track O B-artist I-artist"),
            ("GetWeather", "rain in aldon at noon", "O O B-city B-timeRange I-timeRange"),
            ("RateBook", "one star", "O O"),
        ),
    ),
    _Assistant(
        "atis",
        "tuetschek/atis",
        ATIS_IDS,
        tuple(intent.replace("#", " and ").replace("_", " ") for intent in ATIS_WORDS),
        "LDC (research only)",
        False,
        "data card of tuetschek/atis",
        {},
        (
            (
                "atis_flight#atis_airfare",
                "flights and fares from aldon to halden",
                "O O O O B-fromloc.city_name O B-toloc.city_name",
            ),
            ("atis_abbreviation", "what does hal mean", "O O B-airline_code O"),
            ("atis_day_name", "which days are these", "O O O O"),
        ),
    ),
)

for _one in ASSISTANTS:
    _rows = tuple(
        {"id": str(number), "intent": intent, "text": text, "slots": slots}
        for number, (intent, text, slots) in enumerate(_one.utterances)
    )
    register(
        Task(
            name=f"{_one.name}_intent",
            source=Source(name=_one.source, columns=("id", "text", "intent")),
            to_examples=labelled(f"{_one.name}_intent", ("text",), _one.words, label="intent", values=_one.intents),
            choices=_one.words,
            metrics=by_label(_one.words, accuracy),
            answer=stripped,
            family=FAMILY,
            summary=f"what a user of an assistant wants ({_one.name.upper()})",
            licence=_one.licence,
            train_ok=_one.train_ok,
            schema=_one.schema,
            sizes=_one.sizes,
            sample=_rows,
        )
    )
    register(
        Task(
            name=f"{_one.name}_slots",
            source=Source(name=_one.source, columns=("id", "text", "slots")),
            to_examples=_slots(f"{_one.name}_slots"),
            metrics=mark_entities,
            answer=stripped,
            family=FAMILY,
            summary=f"the details that a user of an assistant names ({_one.name.upper()})",
            licence=_one.licence,
            train_ok=_one.train_ok,
            schema=_one.schema,
            sizes=_one.sizes,
            sample=_rows,
        )
    )
MOVIE_SLOTS = readable(
    "actor award character_name director genre opinion origin plot quote relationship soundtrack year"
)
register(
    Task(
        name="mit_movie_trivia",
        source=Source(name="tner/mit_movie_trivia", columns=("tokens", "tags")),
        to_examples=tagged("mit_movie_trivia", "tags", iob(*MOVIE_SLOTS)),
        metrics=mark_entities,
        answer=stripped,
        family=FAMILY,
        summary="the details that somebody names who asks for a film",
        licence="none stated",
        schema=f"{NO_HUB}; tag indices are its own",
        sizes={"train": 6_816, "validation": 1_000, "test": 1_953},
        sample=(
            {"tokens": _split("a 1950 comedy with maud hale"), "tags": [0, 23, 9, 0, 1, 2]},
            {"tokens": _split("which film is it"), "tags": [0, 0, 0, 0]},
        ),
    )
)
