from irprune.backends.order import completed


def test_what_is_needed_comes_just_before() -> None:
    needs: list[tuple[int, ...]] = [(), (), (1, 0), (), (3,), (4, 2)]
    assert completed((5,), needs) == (3, 4, 1, 0, 2, 5)
    assert completed((3, 2), needs) == (3, 1, 0, 2, 4, 5)
    assert completed((), needs) == (0, 1, 2, 3, 4, 5)


def test_long_chains_are_followed() -> None:
    count = 50_000
    needs: list[tuple[int, ...]] = [(), *((at,) for at in range(count))]
    assert completed((count,), needs) == tuple(range(count + 1))
