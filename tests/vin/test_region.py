from datetime import date

from tests.region_files import parse, region_data


def test_a_region_gets_the_policies_of_the_domain_by_default() -> None:
    policies = parse(region_data()).policies

    assert (policies.parent_rule, policies.address_rule, policies.hub_limit) == (True, False, 12)
    assert (policies.mail_ambiguous, policies.webhook_ambiguous) == ("resend", "resend")
    assert policies.digest_seconds == 20
    assert policies.contact_clock.model_dump() == {
        "remind_after_days": 3,
        "overdue_after_days": 5,
        "escalate_after_days": 10,
    }


def test_an_organisation_writes_in_dutch_unless_it_says_otherwise() -> None:
    data = region_data()
    data["organisations"][1]["language"] = "en"

    assert [each.language for each in parse(data).organisations] == ["nl", "en"]


def test_one_agreement_may_follow_the_other_the_next_day() -> None:
    data = region_data()
    data["organisations"][0]["agreements"] = [
        {"valid_from": date(2025, 1, 1)},
        {"valid_from": date(2024, 1, 1), "valid_to": date(2024, 12, 31)},
        {"valid_from": date(2022, 1, 1), "valid_to": date(2023, 1, 1)},
    ]

    assert len(parse(data).organisations[0].agreements) == 3


def test_ids_follow_from_the_codes_alone() -> None:
    first, again = parse(region_data()), parse(region_data())
    renamed = region_data()
    renamed["organisations"][0]["name"] = "Another name"

    ids = {each.organisation_id(each.organisations[0]) for each in (first, again, parse(renamed))}

    assert len(ids) == 1
    assert first.organisation_id(first.organisations[1]) not in ids


def test_units_share_a_match_unit_by_its_name_only() -> None:
    data = region_data()
    data["organisations"][0]["units"] = [
        {"code": "a", "name": "A"},
        {"code": "b", "name": "B", "match_unit": "a"},
    ]
    data["organisations"][1]["units"] = [
        {"code": "a", "name": "A"},
        {"code": "b", "name": "B", "match_unit": "a"},
    ]

    region = parse(data)
    first, second = [
        [region.match_unit_id(each, unit) for unit in each.units] for each in region.organisations
    ]

    assert first[1] == second[1]
    assert len({*first, *second}) == 3


def test_officers_of_different_places_are_different_people() -> None:
    region = parse(region_data())

    ids = {
        region.officer_id("coordinator", each.code, officer)
        for each in region.organisations
        for officer in each.coordinators
    }

    assert len(ids | {region.officer_id("auditor", "", region.auditors[0])}) == 3
