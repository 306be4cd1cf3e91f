"""The pages about settings name every variable, its default and its range."""

from tools import settings_page


def test_every_setting_of_every_service_is_on_the_page_and_in_the_example():
    page, example = settings_page.page(), settings_page.example()
    for setting in settings_page.settings():
        assert f"`{setting.variable}`" in page
        assert f"{setting.variable}=" in example


def test_what_must_be_given_is_not_commented_out_and_has_no_value():
    lines = settings_page.example().splitlines()
    assert "DRAW_DATABASE_URL=" in lines
    assert "DRAW_BROKER_URL=" in lines
    assert "#DRAW_SCP_HTTP_PORT=9101" in lines


def test_no_secret_has_a_default():
    assert [s.variable for s in settings_page.settings() if s.secret and s.default] == []
