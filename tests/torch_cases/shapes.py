"""Cases of what moves elements: shapes, indices, interpolation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.torch_cases.operands import (
    BLOCK,
    COLUMNS,
    IMAGE,
    IMAGE_PART,
    LINES,
    MATRIX,
    ORDER,
    PLACES,
    SIGNAL,
    THREE_ROWS,
    Cases,
    aten,
)

SHAPES: Cases = {
    # shapes
    "views": (
        lambda x: (
            x.view(2, 24, 8).reshape(2, -1),
            x.flatten(1),
            x.flatten(-2),
            x.flatten(),
            x.unflatten(1, (2, 2)),
            x.view_as(x.reshape(4, 2, 6, 8)),
            aten._unsafe_view(x, [8, 48]),
        ),
        (IMAGE,),
    ),
    "squeezes": (
        lambda x: (x.squeeze(), x.squeeze(1), x.squeeze((0, 3)), x.unsqueeze(-1), x.squeeze(2)),
        ((1, 1, 3, 1, 5),),
    ),
    "transposes": (
        lambda x, y: (
            x.permute(0, 2, -1, 1),
            x.transpose(1, -1),
            x.mT,
            y.t(),
            y.T,
            x[:1].transpose(0, 1).contiguous(),
            x.movedim(1, 3),
        ),
        (IMAGE, MATRIX),
    ),
    "copies": (
        lambda x: (
            aten.alias(x.clone().detach().contiguous() + 1),
            x.to(torch.float32).type_as(x).float().to("cpu") * 2,
            aten.to.other(x, x) + aten.to.device(x, torch.device("cpu"), torch.float32),
            aten.to.other(x, x) + aten.to.dtype_layout(x, dtype=torch.float32),
            aten._to_copy(x, dtype=torch.float32),
        ),
        (IMAGE,),
    ),
    "dropouts": (
        nn.Sequential(nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.FeatureAlphaDropout()),
        (IMAGE,),
    ),
    "dropout_overloads": (
        lambda x: (
            aten.native_dropout(x, 0.5, False)[0] + 1,
            aten.feature_dropout(x, 0.5, False) + aten.alpha_dropout(x, 0.5, False),
        ),
        (IMAGE,),
    ),
    "expand": (lambda x, y: (x.expand(4, 3, 5), y.expand_as(x)), ((4, 1, 5), (1, 1, 5))),
    "cat": (
        lambda x, y: (torch.cat([x, y, IMAGE_PART], 1), torch.cat([x]), aten.cat([x, x])),
        (IMAGE, (2, 2, 6, 8)),
    ),
    "cat_empty": (lambda x: torch.cat([torch.zeros(0), x], 1), (MATRIX,)),
    "stack": (lambda x, y: (torch.stack([x, y], -1), torch.stack([x])), (MATRIX, MATRIX)),
    "repeat": (lambda x: (x.repeat(2, 1, 3), x.tile(2)), (MATRIX,)),
    "splits": (
        lambda x: (
            *x.split(3, 3),
            *x.split([1, 5], 2),
            *x.chunk(2, 1),
            *x.unbind(1)[1:3],
            *torch.split_with_sizes(x, [1, 3], -3),
            *aten.split.sizes(x, [1, 5], 2),
            *aten.unsafe_chunk(x, 3, 2),
            *aten.unsafe_split.Tensor(x, 4, 2),
            *x.chunk(1, 0),
        ),
        (IMAGE,),
    ),
    "slices": (
        lambda x: (
            x[:, 1:3, ::2, -3:],
            x[1],
            x[:, -1, :, 3],
            x[..., 100:],
            x.narrow(2, -4, 3),
            x.select(1, -2),
            x.flip(1, -1),
        ),
        (IMAGE,),
    ),
    "indices": (
        lambda x: (
            x[:, [3, 0, -1]],
            x[:, BLOCK],
            x.index_select(-1, COLUMNS),
            x[:, :, LINES, PLACES],
            x.roll(2, 3),
        ),
        (IMAGE,),
    ),
    "unsafe_index": (lambda x: aten._unsafe_index(x, [None, ORDER]), (IMAGE,)),
    "embedding": (
        lambda x: (
            F.embedding(torch.tensor([1, 0]), x) + F.embedding(torch.tensor([2, 1]), THREE_ROWS)
        ),
        (MATRIX,),
    ),
    "scatters": (
        lambda x, y: (
            torch.select_scatter(x, y, 1, -1),
            torch.slice_scatter(x, x[:, 1:3], 1, 2),
            torch.slice_scatter(x, x[..., :2], -1, 0, 2),
            torch.slice_scatter(x, x[..., :0], -1, 4, 3),
            aten.fill.Scalar(x[..., :2], 3)
            + aten.fill.Tensor(y[..., :2, None, None].sum(), y[0, 0, 0]),
        ),
        (IMAGE, (2, 6, 8)),
    ),
    "pads": (
        lambda x: (
            F.pad(x, (1, 2, 0, 3)),
            F.pad(x, (1, -2, -1, 0), value=0.5),
            F.pad(x, (1, 2, 3, 0), "reflect"),
            F.pad(x, (1, 2, 9, 0), "replicate"),
            F.pad(x, (3, 0, 1, 2), "circular"),
            F.pad(x, (0, 0)),
        ),
        (IMAGE,),
    ),
    "pad_overloads": (
        lambda x, y: (
            aten.constant_pad_nd(x, [1, 1], 2),
            aten.reflection_pad2d(x, [1, 2, 0, 1]),
            aten.replication_pad2d(x, [1, 2, 0, 1]),
            aten.reflection_pad1d(y, [1, 2]),
            aten.replication_pad1d(y, [1, 2]),
        ),
        (IMAGE, SIGNAL),
    ),
    "shuffles": (
        lambda x: (
            F.pixel_shuffle(x, 2),
            F.pixel_unshuffle(x, 2),
            F.pixel_unshuffle(x[:, :1], 2),
            F.channel_shuffle(x, 2),
            aten.native_channel_shuffle(x, 2),
        ),
        (IMAGE,),
    ),
    "likes": (
        lambda x: (
            x + torch.zeros_like(x) + torch.ones_like(x) + torch.full_like(x, 2),
            aten.copy(torch.empty_like(x), x[:1]) + aten.copy(x.new_empty(2, 4, 6, 8), x),
            x + x.new_zeros(8) + x.new_ones(8) + x.new_full((8,), 3.0),
        ),
        (IMAGE,),
    ),
    # interpolation
    "nearest": (
        lambda x: (
            F.interpolate(x, scale_factor=2),
            F.interpolate(x, scale_factor=(1.3, 0.6)),
            F.interpolate(x, size=(44, 3)),
            F.interpolate(x, scale_factor=2, recompute_scale_factor=True),
        ),
        ((1, 2, 26, 6),),
    ),
    "nearest_exact": (
        lambda x: (
            F.interpolate(x, scale_factor=2.3, mode="nearest-exact"),
            F.interpolate(x, size=(11, 7), mode="nearest-exact"),
        ),
        ((1, 2, 26, 6),),
    ),
    "bilinear": (
        lambda x: (
            F.interpolate(x, scale_factor=(2, 1.1), mode="bilinear"),
            F.interpolate(x, size=(5, 11), mode="bilinear"),
            F.interpolate(x, size=(5, 11), mode="bilinear", align_corners=True),
            F.interpolate(x, size=(1, 16), mode="bilinear", align_corners=True),
        ),
        (IMAGE,),
    ),
    "line": (
        lambda x: (
            F.interpolate(x, scale_factor=2),
            F.interpolate(x, size=7, mode="nearest-exact"),
            F.interpolate(x, scale_factor=1.5, mode="linear"),
        ),
        (SIGNAL,),
    ),
    "volume": (
        lambda x: (
            F.interpolate(x, scale_factor=2),
            F.interpolate(x, size=(5, 7, 3), mode="nearest-exact"),
            F.interpolate(x, size=(4, 3, 9), mode="trilinear"),
            F.interpolate(x, size=(4, 3, 9), mode="trilinear", align_corners=True),
        ),
        ((1, 2, 3, 4, 5),),
    ),
    "upsample_overloads": (
        lambda x: (
            aten.upsample_nearest2d.default(x, [9, 4]),
            aten.upsample_nearest2d.default(x, [12, 9], 2.0, 1.2),
            aten._upsample_nearest_exact2d.default(x, [9, 4]),
            aten.upsample_bilinear2d.default(x, [9, 4], False),
            aten.upsample_bilinear2d.default(x, [12, 9], False, 2.0, 1.2),
        ),
        (IMAGE,),
    ),
}
