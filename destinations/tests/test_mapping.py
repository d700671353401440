"""Whom a partner knows people by: hashes byte for byte as the vendors document them, and what is refused."""

import hashlib
import json

import pytest
from django.core.exceptions import ValidationError

from destinations.endpoint import Endpoint
from destinations.known import Known
from destinations.mapping import (
    PLAIN,
    REVISED,
    Field,
    PeopleMapping,
    Unsuitable,
    apply,
    problem_with,
    problems_with,
)
from destinations.models import Destination
from destinations.payloads import Encoder, Operation, says_more

EMAIL = ["email", "sha256"]


# Those with a hash are the vendors' own examples, read in November 2026. Meta: developers.facebook.com,
# Conversions API, customer information parameters. Snap: developers.snap.com, Conversions API, parameters.
# TikTok: ads.tiktok.com, formats for a customer file (August 2025); a number is hashed by its digits alone.
# Google (developers.google.com, Data Manager, formatting) and LinkedIn (see its partner folder) have rules,
# and no hash: what is hashed is written out.
@pytest.mark.parametrize(
    ("vendor", "filters", "given", "sent"),
    [
        ("Meta", EMAIL, " John_Smith@gmail.com ",
         "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"),
        ("Meta", ["phone:US", "digits", "sha256"], "(650)555-1212",
         "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176"),
        ("Snap", EMAIL, "Person@Example.com",
         "542d240129883c019e106e3b1b2d3f3cb3537c43c425364de8e951d5a3083345"),
        ("Snap", ["phone", "digits", "sha256"], "+44 844 412 4653",
         "dc008fda46e2e64002cf2f82a4906236282d431c4f75e5b60bfe79fc48546383"),
        ("TikTok", EMAIL, "JaneDoe@gmail.com",
         "d6117306485ed0e50afab3ac871e98f81699151f30281527d63ff5f233656c69"),
        ("TikTok", ["email", "no_plus"], "firstname-lastname+ads@gmail.com", "firstname-lastname@gmail.com"),
        ("TikTok", ["phone:US", "digits"], "(657)777-0000", "16577770000"),
        ("TikTok", ["phone:AM", "digits", "sha256"], "+374-93-828222",
         "65b7e6dcf6f4310f8d7cbfbd78289a753062fb054d6664fb9aaac5df66a422d4"),
        ("Google", ["email", "gmail"], "cloudy.sanfrancisco+shopping@gmail.com",
         "cloudysanfrancisco@gmail.com"),
        ("Google", ["email", "gmail"], "Jane.Doe@GoogleMail.com", "janedoe@googlemail.com"),
        ("Google", ["email", "gmail"], "user.name+NYC@Example.com", "user.name+nyc@example.com"),
        ("Google", ["phone:US"], "(800)555-0100", "+18005550100"),
        ("Google", ["phone"], "0049 30 901820", "+4930901820"),
        ("LinkedIn", ["email"], "Jane.Doe@Example.com", "jane.doe@example.com"),
    ],
)  # fmt: skip
def test_identifiers_are_written_as_the_vendors_say(vendor, filters, given, sent):
    assert apply(filters, given) == sent
    if len(sent) == 64:
        # What is hashed already, in whatever letters, stays.
        assert apply(filters, sent.upper()) == sent
    else:
        assert apply([*filters, "sha256"], given) == hashlib.sha256(sent.encode()).hexdigest()


def test_two_spellings_of_an_address_in_unicode_are_one():
    assert apply(EMAIL, "jo\u0308rg@example.com") == apply(EMAIL, "J\u00d6RG@example.com")


@pytest.mark.parametrize(
    ("filters", "given"),
    [(["email"], "nobody"), (["email"], "a b@example.com"), (["email"], "a" * 64), (["phone"], "12"),
     (["phone"], "030 901820"), (["phone:DE"], "1"), (["phone"], "x" * 5_000)],
)  # fmt: skip
def test_what_is_none_is_unsuitable(filters, given):
    with pytest.raises(Unsuitable):
        apply(filters, given)


BOTH = (Field("email", ("email",), "email"), Field("phone", ("phone",), "tel"))


def test_the_first_that_a_person_has_is_sent_or_all_of_them():
    ada = {"email": ["no address", "Ada@example.com"], "phone": "+4930901820"}
    assert PeopleMapping(BOTH).sendable("u1", ada).identifiers == {"ada@example.com": "email"}
    assert PeopleMapping(BOTH, every=True).sendable("u1", ada).identifiers == {
        "ada@example.com": "email", "+4930901820": "tel",
    }  # fmt: skip
    assert PeopleMapping(BOTH).sendable("u1", {"phone": "+4930901820"}).identifiers == {"+4930901820": "tel"}
    assert PLAIN.sendable("u1", {}).identifiers == {"u1": "user_id"}
    device = PeopleMapping((Field("device", (), "device"),), every=True)
    assert device.sendable("u1", {"device": [7, True, None, ""]}).identifiers == {
        "7": "device",
        "true": "device",
    }


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "there is no email nor phone"),
        ({"email": None, "phone": []}, "there is no email nor phone"),
        ({"email": "x"}, "email has no @"),
        (
            {"email": "x", "phone": "1"},
            "email has no @; phone does not begin with + and the number of its country",
        ),
        ({"email": "a" * 1_100 + "@example.com"}, "email is longer than 254 characters"),
        ({"email": "a\0@example.com"}, "email contains a NUL character"),
        ({"email": "\ud800@example.com"}, "email contains a lone surrogate"),
    ],
)
def test_who_is_not_sendable_is_so_for_a_reason(fields, why):
    assert PeopleMapping(BOTH).sendable("u1", fields).why_not == why


@pytest.mark.parametrize("value", [None, False, "true", 1, [True]])
def test_consent_is_true_and_nothing_else(value):
    asks = PeopleMapping(consent="consent.marketing")
    assert asks.sendable("u1", {"consent.marketing": value}).why_not == "consent.marketing is not true"
    assert asks.sendable("u1", {"consent.marketing": True}).identifiers == {"u1": "user_id"}
    assert asks.fields == ["consent.marketing"]


def test_what_goes_along_has_its_own_name_and_what_is_not_known_is_left_out():
    mapping = PeopleMapping(
        traits=(
            Field("plan", (), "tier"),
            Field("mail", EMAIL, "mail"),
            Field("x", (), "x"),
            Field("user_id", (), "id"),
        )
    )
    along = mapping.traits_of("u1", {"plan": ["a", 1], "mail": "no", "other": 1})
    assert along == {"tier": ["a", 1], "id": "u1"}
    assert mapping.fields == ["mail", "plan", "x"]


GMAIL = PeopleMapping((Field("email", ("email", "gmail"), "email"),))


def test_another_digest_is_another_mapping():
    several = [
        PLAIN, PeopleMapping(BOTH), PeopleMapping(BOTH, every=True), PeopleMapping(BOTH, workspace="a"),
        PeopleMapping(BOTH, traits=(Field("plan", (), "plan"),)), PeopleMapping(BOTH, consent="c"),
        PeopleMapping(BOTH[::-1]), PeopleMapping((BOTH[0],)), GMAIL,
    ]  # fmt: skip
    assert len({mapping.digest for mapping in several}) == len(several)
    assert PeopleMapping(BOTH).digest == PeopleMapping(BOTH).digest


def test_a_filter_that_makes_something_else_than_in_the_last_release_is_another_mapping(monkeypatch):
    before, plain = GMAIL.digest, PeopleMapping(BOTH).digest
    monkeypatch.setitem(REVISED, "gmail", REVISED["gmail"] + 1)
    assert GMAIL.digest != before and PeopleMapping(BOTH).digest == plain


# --- configuration and templates -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Must be a list"),
        ([1], 'Each is an object with a "field"'),
        ([{"field": " "}], 'Each is an object with a "field"'),
        ([{"field": "a", "x": 1}], "'x' is none of"),
        ([{"field": "a", "filters": "sha256"}], '"filters" is a list'),
        ([{"field": "a", "filters": ["sha265"]}], "did you mean 'sha256'"),
        ([{"field": "a", "filters": ["phone:de"]}], "There is no filter 'phone:de'"),
        ([{"field": "a", "as": 1}], '"as" is a name'),
        ([{"field": "a"}] * 21, "at most 20"),
    ],
)
def test_what_is_no_list_of_fields_is_named(given, said):
    assert said in " ".join(problems_with(given, identifiers=True))


def test_what_goes_along_has_a_name_for_templates():
    assert "is no name" in problems_with([{"field": "a.b"}], identifiers=False)[0]
    assert (
        "Two of them are called"
        in problems_with([{"field": "a"}, {"field": "b", "as": "a"}], identifiers=False)[0]
    )
    assert problems_with([{"field": "a.b", "as": "b"}], identifiers=False) == []
    assert problem_with("phone:DE") == ""


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"identifiers": [{"field": "email"}]}, "profiles_workspace"),
        ({"consent_field": "c"}, "profiles_workspace"),
        ({"list_item_template": '{"id": "$user_id", "t": "$trait_plan"}'}, "list_item_template"),
        ({"list_item_template": '{"id": "$user_id", "t": "x $traits"}'}, "list_item_template"),
        ({"add_template": '{"users": "$items", "t": "$trait_plan"}'}, "add_template"),
    ],
)
def test_a_destination_says_whose_profiles_and_names_only_what_goes_along(fields, named):
    made = Destination.from_preset("amplitude-list")
    for name, value in {"name": "acme", "base_url": "https://a.example", "credential": "k", **fields}.items():
        setattr(made, name, value)
    with pytest.raises(ValidationError) as error:
        made.clean()
    assert named in error.value.message_dict


def test_a_template_has_what_goes_along_as_it_is():
    item = (
        '{"id": "$user_id", "by": "$identifier_type", "plan": "$trait_plan", "none": "$trait_none", '
        '"text": "plan $trait_plan, $trait_n", "upper": "${trait_plan|upper}", "all": "$traits"}'
    )
    endpoint = Endpoint(name="a", base_url="https://a.example", list_item_template=item)
    assert says_more(endpoint) and not says_more(Endpoint(name="a", base_url="https://a.example"))
    encoder = Encoder(endpoint, cohort_name="n", cohort_key="k", external_name="e", list_id="7")
    ada = Known.of('a"b', "email", {"plan": 'p"ro', "n": 1.5})
    [sent, plain] = json.loads(encoder.batch(Operation.ADD, [ada, "u2"]).body)["userIds"]
    assert sent == {
        "id": 'a"b', "by": "email", "plan": 'p"ro', "none": None, "text": 'plan p"ro, 1.5', "upper": 'P"RO',
        "all": {"plan": 'p"ro', "n": 1.5},
    }  # fmt: skip
    assert plain == {
        "id": "u2",
        "by": "",
        "plan": None,
        "none": None,
        "text": "plan , ",
        "upper": "",
        "all": {},
    }
