"""Where inside a block its MLP units and its attention heads can be read."""

from __future__ import annotations

from nissl.model.trace import Call, Run

__all__ = ["find_heads", "find_units"]


def find_units(run: Run) -> Call | None:
    """Return the map (or the fused experts) whose input is a block's MLP units.

    A block's maps end with …, attention output, map(s) up, map down. Two maps up that are given
    the very same tensor are gate and value; one map up of twice the width is both in one.
    """
    mixture = next((call for call in run.calls if call.experts), None)
    if mixture or any(call.beside for call in run.calls):
        return mixture if mixture and mixture.wide_in else None
    own, down = _ends(run)
    return own[down] if down else None


def find_heads(run: Run, *, cross: bool = False) -> Call | None:
    """Return the map whose input is the outputs of a block's attention heads, side by side.

    It is the last map back to the stream before the MLP's first.

    Parameters
    ----------
    cross
        Whether the block also attends to an encoder, and so has two such maps: the first is
        wanted. The encoder's states are known by their shape.
    """
    beside = next((c.beside or c.module.rpartition(".")[0] for c in run.calls if is_expert(c)), "")
    own, down = _ends(run)
    if beside:
        # A shared expert may run before the others: what is beside the experts is no attention.
        inside = (i for i, c in enumerate(own) if c.module.startswith(f"{beside}."))
        end = next(inside, len(own))
    elif down:
        end = down - 1
        while end > 0 and own[end].same:
            end -= 1
    else:
        return None
    width = run.left[-1]
    if not end or own[end - 1].wide_out != width:
        return None
    if cross:
        before, after = _around_foreign(run, own[end - 1])
        # Cross-attention is query, keys and values of the encoder, output; where its query comes
        # last, two of its own maps follow the encoder's, else one.
        end = before - 1 if after == 1 else before
        if end < 1 or own[end - 1].wide_out != width:
            return None
    return own[end - 1]


def is_expert(call: Call) -> bool:
    """Whether a map, or a fused module, is given only the tokens that are routed to it."""
    return call.experts or bool(call.beside)


def _ends(run: Run) -> tuple[list[Call], int]:
    """Return the maps of the stream itself, and the index of the MLP's last, or 0."""
    own = [call for call in run.calls if not is_expert(call) and _is_own(call, run)]
    width = run.left[-1]
    down = next((i for i in reversed(range(len(own))) if own[i].wide_out == width), 0)
    if not down:
        return own, 0
    up, inner = own[down - 1], own[down].wide_in
    fits = up.wide_in == width and up.wide_out in (inner, 2 * inner)
    # Query, key and value are three maps of one tensor: attention alone is no MLP.
    fits = fits and not (down > 2 and up.same and own[down - 2].same)
    return own, down if fits else 0


def _is_own(call: Call, run: Run) -> bool:
    """Whether a map was given tokens of the stream: not positions, and not another stack's."""
    lead = run.left[:-1]
    return call.lead in (lead, (lead[0] * lead[1],))


def _around_foreign(run: Run, last: Call) -> tuple[int, int]:
    """Count a block's own maps before another stack's, and after them up to ``last``."""
    upto = run.calls[: run.calls.index(last) + 1]
    foreign = [i for i, call in enumerate(upto) if not _is_own(call, run)]
    if not foreign:
        return len(upto), 0
    return foreign[0], len(upto) - 1 - foreign[-1]
