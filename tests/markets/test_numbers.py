"""What people type as a telephone number, in each market: read into one form, or not at all."""

import pytest

from umoja.markets import packs

READ = [
    # market, what is typed, what it is
    ("KE", "0712345678", "254712345678"),
    ("KE", "712345678", "254712345678"),
    ("KE", "+254712345678", "254712345678"),
    ("KE", "254712345678", "254712345678"),
    ("KE", "00254712345678", "254712345678"),
    ("KE", "0712 345 678", "254712345678"),
    ("KE", "(0712) 345-678", "254712345678"),
    ("KE", "+254.712.345.678", "254712345678"),
    ("KE", "0712\u00a0345\u00a0678", "254712345678"),
    ("KE", "0110123456", "254110123456"),
    ("KE", "0744123456", "254744123456"),
    ("TZ", "0741234567", "255741234567"),
    ("TZ", "741234567", "255741234567"),
    ("TZ", "+255 741 234 567", "255741234567"),
    ("TZ", "255741234567", "255741234567"),
    ("TZ", "0621234567", "255621234567"),
    ("CD", "0812345678", "243812345678"),
    ("CD", "812345678", "243812345678"),
    ("CD", "+243812345678", "243812345678"),
    ("CD", "243812345678", "243812345678"),
    ("CD", "0991234567", "243991234567"),
    ("MZ", "841234567", "258841234567"),
    ("MZ", "+258841234567", "258841234567"),
    ("MZ", "258841234567", "258841234567"),
    ("MZ", "00258 84 123 4567", "258841234567"),
    ("LS", "50123456", "26650123456"),
    ("LS", "+26650123456", "26650123456"),
    ("LS", "26650123456", "26650123456"),
    ("LS", "62123456", "26662123456"),
    ("GH", "0201234567", "233201234567"),
    ("GH", "201234567", "233201234567"),
    ("GH", "+233201234567", "233201234567"),
    ("GH", "233201234567", "233201234567"),
    ("GH", "0501234567", "233501234567"),
    ("EG", "01001234567", "201001234567"),
    ("EG", "1001234567", "201001234567"),
    ("EG", "+201001234567", "201001234567"),
    ("EG", "201001234567", "201001234567"),
    ("EG", "00201001234567", "201001234567"),
    ("ET", "0700123456", "251700123456"),
    ("ET", "700123456", "251700123456"),
    ("ET", "+251700123456", "251700123456"),
    ("ET", "251700123456", "251700123456"),
    ("ET", "0911123456", "251911123456"),
]

NOT_READ = [
    ("KE", "071234567"),  # a digit short
    ("KE", "07123456789"),  # a digit long
    ("KE", "0202345678"),  # a fixed line
    ("KE", "+255712345678"),  # of the neighbours
    ("KE", "+0712345678"),
    ("KE", "+712345678"),  # international without its country
    ("KE", "++254712345678"),
    ("KE", "0712345678 ext 1"),
    ("KE", "07i2345678"),
    ("KE", "٠٧١٢٣٤٥٦٧٨"),  # the screen turns these into 0-9 before it asks
    ("KE", ""),
    ("KE", "+"),
    ("KE", "0"),
    ("KE", "254"),
    ("KE", "0712345678" * 4),
    ("TZ", "0221234567"),
    ("TZ", "+254741234567"),
    ("CD", "0881234"),
    ("CD", "0612345678"),
    ("MZ", "0841234567"),  # nobody writes a nought here
    ("MZ", "21123456"),
    ("LS", "050123456"),
    ("LS", "22123456"),
    ("GH", "0301234567"),
    ("GH", "+234201234567"),
    ("EG", "0212345678"),
    ("EG", "010012345678"),
    ("ET", "0111234567"),
    ("ET", "+254700123456"),
]


@pytest.mark.parametrize(("code", "typed", "number"), READ)
def test_a_number_is_read_in_every_way_people_write_it(code, typed, number):
    market = packs.load(code)
    assert market.phone_number(typed) == number
    assert market.phone_number(number) == number
    assert market.phone_number(f"+{number}") == number


@pytest.mark.parametrize(("code", "typed"), NOT_READ)
def test_what_is_no_mobile_number_is_not_guessed_at(code, typed):
    assert packs.load(code).phone_number(typed) is None


@pytest.mark.parametrize("code", packs.codes())
def test_every_prefix_of_the_operator_is_mobile(code):
    market = packs.load(code)
    length = market.national_length[0]
    for prefix in market.own_prefixes:
        # Some prefixes are open further than they are handed out: one number in each is enough.
        candidates = [f"{prefix}{filler:0{length - len(prefix)}d}" for filler in (0, 1234567)]
        candidates += [f"{prefix}{digit}{'0' * (length - len(prefix) - 1)}" for digit in range(10)]
        assert any(market.phone_number(each) for each in candidates if len(each) == length), prefix
