"""Terms for unlabelled patches: who is followed, where it counts, and what a labelled half may see
of the other.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.ramp import sigmoid_ramp
from fewmask.blocks.semi import (
    CrossPseudo,
    HighEntropyWeighting,
    LowEntropyWeighting,
    MagicCubes,
    MeanTeacher,
    SelfTraining,
    SemiObjective,
    UniformWeighting,
)
from fewmask.blocks.semi.bcp import CopyPaste, largest_parts, paste_box
from fewmask.blocks.semi.magicnet import (
    draw_exchange,
    exchange_cubes,
    places,
    restore_cubes,
    shuffle_cubes,
)
from fewmask.blocks.semi.mean_teacher import entropy
from fewmask.blocks.semi.objective import disturb, follow, supervised, teacher_of
from fewmask.core.batch import IGNORE, Labelled, Step, Unlabelled
from tests.narrow import part, required

SHAPE = (16, 16, 16)
LAST = Step(10, 10)
"""Weights that rise over training are 1 here."""


def net(seed: int = 0) -> VNet:
    torch.manual_seed(seed)
    return VNet(2, filters=2, dropout=0.0)


def bias_of(network: VNet) -> torch.Tensor:
    """Of the last layer."""
    return required(network.last.bias)


def mean_of(network: VNet) -> torch.Tensor:
    """The running mean of the first norm."""
    return required(part(network, "first.1", nn.BatchNorm3d).running_mean)


class Fixed(VNet):
    """It answers `probs` whatever it sees."""

    def __init__(self, probs: torch.Tensor) -> None:
        super().__init__(probs.shape[1], filters=2)
        self._logits = (probs + 1e-9).log()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self._logits


class Colours(VNet):
    """Its bottom says which of 16 grey levels a cell has, and knows nothing of other cells."""

    def bottom(self, image: torch.Tensor) -> torch.Tensor:
        level = nn.functional.avg_pool3d(image, 16)[:, 0].round().long()
        return nn.functional.one_hot(level, 16).movedim(-1, 1).float()


def labelled(mean: float = 0.0) -> Labelled:
    image = mean + torch.randn(2, 1, *SHAPE, generator=torch.Generator().manual_seed(1))
    return Labelled(image, (image[:, 0] > mean).long(), torch.ones(2, 1, dtype=torch.long))


def unlabelled(mean: float = 0.0) -> Unlabelled:
    return Unlabelled(mean + torch.randn(2, 1, *SHAPE, generator=torch.Generator().manual_seed(2)))


def learn(
    term: SemiObjective, student: VNet, other: Unlabelled, step: Step = LAST
) -> dict[str, float]:
    """Losses of the labelled patches and these."""
    return {
        name: float(loss.detach())
        for name, loss in term.losses(student, labelled(), other, step).losses.items()
    }


def terms(joint: bool) -> dict[str, tuple[VNet, SemiObjective]]:
    """Student and term, made alike."""
    students = [net() for _ in range(6)]
    made = [
        MeanTeacher(students[0], UniformWeighting(), 0.1, 0.99, 0.1, True, joint),
        MeanTeacher(students[1], UniformWeighting(), 0.1, 0.99, 0.1, False, joint),
        MeanTeacher(students[2], LowEntropyWeighting(2), 0.1, 0.99, 0.1, False, joint),
        MeanTeacher(students[3], HighEntropyWeighting(), 0.1, 0.99, 0.1, False, joint),
        CrossPseudo(net(1), 0.1, joint),
        SelfTraining(students[5], 2, 1.0, joint),
    ]
    names = (
        "mean_teacher",
        "mean_teacher, unlabelled only",
        "ua_mt",
        "ac_mt",
        "cps",
        "self_training",
    )
    return {
        name: (student, term) for name, student, term in zip(names, students, made, strict=True)
    }


@pytest.mark.parametrize("name", terms(False))
@pytest.mark.parametrize("joint", [False, True])
def test_what_labels_teach_depends_on_the_other_half_in_a_joint_pass_only(
    name: str, joint: bool
) -> None:
    """Unlabelled patches from another scanner (all brighter by 3) change the batch's mean, not that
    of the labelled half.
    """
    student, term = terms(joint)[name]
    near, far = (learn(term, student, unlabelled(mean))["supervised"] for mean in (0, 3))
    assert (near != far) is joint


def test_a_pass_of_its_own_teaches_labels_as_vnet_learns_them() -> None:
    student, term = terms(False)["mean_teacher"]
    alone = float(supervised(student(labelled().image), labelled()).detach())
    assert learn(term, student, unlabelled(3))["supervised"] == alone


def test_each_half_moves_the_running_statistics() -> None:
    """Test-time statistics see both: from 0, momentum 0.1, means 1 then 3: 0.1 and 0.1 * 3 + 0.9 *
    0.1 = 0.39.
    """
    student = net()
    image = torch.ones(2, 1, *SHAPE)
    with torch.no_grad():
        conv = part(student, "first.0", nn.Conv3d)
        conv.weight.zero_()
        conv.weight[:, 0, 1, 1, 1] = 1  # the middle voxel: the image itself
        required(conv.bias).zero_()
    term = MeanTeacher(student, UniformWeighting(), 0.1, 0.99, 0.0, True, False)
    term.losses(
        student,
        Labelled(image, torch.zeros(2, *SHAPE).long(), torch.zeros(2, 1).long()),
        Unlabelled(3 * image),
        LAST,
    )
    norm = student.first[1]
    assert isinstance(norm, nn.BatchNorm3d) and norm.running_mean is not None
    assert norm.running_mean.tolist() == pytest.approx([0.39, 0.39])


def test_consistency_is_nothing_with_a_teacher_that_sees_the_same() -> None:
    """No noise, and the teacher begins as a copy."""
    student = net()
    term = MeanTeacher(student, UniformWeighting(), 0.1, 0.99, 0.0, True, False)
    assert learn(term, student, unlabelled())["consistency"] == 0


def test_consistency_is_the_mean_squared_difference_of_softmaxes() -> None:
    """Student says (1/2, 1/2) everywhere, teacher (1, 0): mean over classes of 1/4; times 0.1,
    times the ramp.
    """
    student = net()
    for weight in student.last.parameters():
        nn.init.zeros_(weight)
    term = MeanTeacher(student, UniformWeighting(), 0.1, 0.99, 0.0, False, False)
    with torch.no_grad():
        bias_of(term.teacher).copy_(torch.tensor([50.0, -50.0]))
    for step in (LAST, Step(0, 10)):
        assert learn(term, student, unlabelled(), step)["consistency"] == pytest.approx(
            0.1 * 0.25 * sigmoid_ramp(step)
        )


def voxels(*probs: list[float]) -> torch.Tensor:
    """Probabilities of the classes, voxel by voxel, as an answer (1, c, 1, 1, voxels)."""
    return torch.tensor(probs).T.reshape(1, -1, 1, 1, len(probs))


@pytest.mark.parametrize(
    ("probs", "bits"),
    [
        ([1.0, 0.0], 0),
        ([0.5, 0.5], 1),
        ([0.75, 0.25], 2 - 0.75 * math.log2(3)),  # 0.811
        ([0.5, 0.5, 0.0], 1),
        ([0.5, 0.25, 0.25], 1.5),
        ([0.5, *[0.0] * 12, 0.5], 1),
        ([0.125] * 8, 3),
    ],
)
def test_entropy_is_in_bits_whatever_the_number_of_classes(probs: list[float], bits: float) -> None:
    assert float(entropy(voxels(probs))) == pytest.approx(bits, abs=1e-4)


def test_the_sure_and_the_doubtful_voxels() -> None:
    """The last thresholds are 1 and 0.95: every voxel below one bit is sure, only those near it are
    in doubt.
    """
    probs = voxels([0.99, 0.01], [0.6, 0.4], [0.5, 0.5])
    image = torch.zeros(1, 1, 1, 1, 3)
    h = -(0.6 * math.log2(0.6) + 0.4 * math.log2(0.4))  # 0.971
    assert h > 0.95 and HighEntropyWeighting().weights(
        net(), image, probs, 0.0, LAST
    ).flatten().tolist() == [
        0,
        1,
        1,
    ]
    first = LowEntropyWeighting(2).weights(Fixed(probs), image, probs, 0.0, Step(0, 1000))
    assert first.flatten().tolist() == [1, 0, 0]  # threshold 0.75 + 0.25 * 0.007


def test_a_border_between_two_of_three_classes_is_as_doubtful_as_between_two_of_two() -> None:
    """0.08, 0.97, 1 and 1.58 bits. As parts of log2(3) they were 0.05, 0.61, 0.63 and 1: of them
    the last alone in doubt.
    """
    probs = voxels([0.99, 0.01, 0.0], [0.6, 0.0, 0.4], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3])
    image = torch.zeros(1, 1, 1, 1, 4)
    assert HighEntropyWeighting().weights(net(), image, probs, 0.0, LAST).flatten().tolist() == [
        0,
        1,
        1,
        1,
    ]
    assert LowEntropyWeighting(2).weights(
        Fixed(probs), image, probs, 0.0, Step(0, 1000)
    ).flatten().tolist() == [
        1,
        0,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("student_says", "teacher_says", "expected"), [(0.0, 50.0, 0.1 * 0.25), (50.0, 0.0, 0.0)]
)
def test_ac_mt_counts_where_the_student_is_in_doubt(
    student_says: float, teacher_says: float, expected: float
) -> None:
    """(1/2, 1/2) against the teacher's (1, 0): mean over classes of 1/4, times 0.1; a sure student
    hears no teacher in doubt.
    """
    student = net()
    term = MeanTeacher(student, HighEntropyWeighting(), 0.1, 0.99, 0.0, False, False)
    for network, logit in ((student, student_says), (term.teacher, teacher_says)):
        nn.init.zeros_(network.last.weight)
        with torch.no_grad():
            bias_of(network).copy_(torch.tensor([logit, -logit]))
    consistency = term.losses(student, labelled(), unlabelled(), LAST).losses["consistency"]
    assert float(consistency.detach()) == pytest.approx(expected)


def test_the_teacher_is_the_plain_average_of_the_first_students_and_has_their_statistics() -> None:
    """Students 0, 3, 6: after one step 3 (keep 0), after two (3 + 6) / 2; with decay 0.25, 0.25 * 3
    + 0.75 * 6.
    """
    student = net()
    for decay, expected in ((0.99, 4.5), (0.25, 5.25)):
        nn.init.zeros_(bias_of(student))
        teacher = teacher_of(student)
        assert not any(weight.requires_grad for weight in teacher.parameters())
        for index, value in enumerate((3.0, 6.0)):
            nn.init.constant_(bias_of(student), value)
            mean_of(student).fill_(value)
            follow(teacher, student, Step(index, 10), decay)
        assert bias_of(teacher).tolist() == [expected] * 2
        assert mean_of(teacher).tolist() == [6, 6]


def test_noise_is_clipped_at_two_deviations() -> None:
    noise = disturb(torch.zeros(1, 1, 64, 64, 64), 0.1)
    assert float(noise.abs().max()) == pytest.approx(0.2) and 0.08 < float(noise.std()) < 0.1


def test_nothing_reviewed_teaches_nothing() -> None:
    nobody = Labelled(
        labelled().image, torch.full((2, *SHAPE), IGNORE), torch.ones(2, 1, dtype=torch.long)
    )
    assert float(supervised(net()(nobody.image), nobody).detach()) == 0


def test_self_training_labels_from_the_second_part_on_and_renews_its_teacher() -> None:
    student = net()
    term = SelfTraining(student, 2, 1.0, False)
    assert set(learn(term, student, unlabelled(), Step(2, 9))) == {"supervised"}
    assert set(learn(term, student, unlabelled(), Step(3, 9))) == {"supervised", "pseudo"}
    renewed = []
    for index in range(9):
        nn.init.constant_(bias_of(student), index)
        term.after_step(student, Step(index, 9))
        renewed.append(float(bias_of(term.teacher)[0].detach()))
    assert renewed[2:8] == [2, 2, 2, 5, 5, 5]


def test_a_pasted_box_has_its_part_of_every_side() -> None:
    inside = paste_box((12, 12, 12), 2 / 3, np.random.default_rng(0))
    where = inside.nonzero()
    assert int(inside.sum()) == 8**3 and ((where.amax(0) - where.amin(0)) == 7).all()


class Exact(VNet):
    """Sure of the class that is the grey level."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 50.0 * torch.cat([1 - image, image], 1)


def test_pasted_voxels_are_taught_by_the_labels_of_where_they_come_from() -> None:
    """Grey levels are the classes, so a network that reads them off loses nothing, unless it is
    told the other patch's labels.
    """
    _, h, w = torch.meshgrid(*(torch.arange(8),) * 3, indexing="ij")
    mask, other = (w >= 4).long()[None].repeat(2, 1, 1, 1), (h >= 4).long()[None].repeat(2, 1, 1, 1)
    term = CopyPaste(Exact(2, 2), weight=0.5, decay=0.99, first=0.1, side=0.75)
    unlabelled = Unlabelled(other[:, None].float())

    def losses(labels: torch.Tensor) -> dict[str, float]:
        labelled = Labelled(mask[:, None].float(), labels, torch.ones(2, 1, dtype=torch.long))
        found = term.losses(Exact(2, 2), labelled, unlabelled, Step(8, 10)).losses
        return {name: float(loss) for name, loss in found.items()}

    assert losses(mask) == pytest.approx({"inward": 0, "outward": 0}, abs=1e-5)
    assert min(losses(1 - mask).values()) > 1, "the control"


def test_of_every_class_the_largest_part_stays() -> None:
    labels = np.zeros((1, 1, 9), dtype=np.int64)
    labels[0, 0] = [1, 1, 0, 1, 2, 0, 2, 2, 0]
    assert largest_parts(labels)[0, 0].tolist() == [1, 1, 0, 0, 0, 0, 2, 2, 0]


def test_traded_cubes_come_back_and_shuffled_ones_say_from_where() -> None:
    x = torch.arange(2 * 8**3, dtype=torch.float32).reshape(2, 1, 8, 8, 8)
    source = draw_exchange(2, 2, np.random.default_rng(0))
    traded = exchange_cubes(x, source, 2)
    assert not torch.equal(traded, x) and torch.equal(restore_cubes(traded, source, 2), x)
    order = torch.tensor([[7, 6, 5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5, 6, 7]])
    moved, where = shuffle_cubes(x, order, 2), places((8, 8, 8), 2)
    assert torch.equal(moved[1], x[1]) and torch.equal(
        moved[(0, 0, *where[0])], x[(0, 0, *where[7])]
    )


def test_a_patch_gets_the_cube_of_the_patch_that_is_named_at_the_same_place() -> None:
    """Three patches of the values 0, 1 and 2; at the first place patch b gets its cube from 1, 2,
    0, at the last from 2, 0, 1.
    """
    x = torch.arange(3.0).view(3, 1, 1, 1, 1).expand(3, 1, 4, 4, 4)
    source = np.tile(np.arange(3), (8, 1))
    source[0], source[7] = [1, 2, 0], [2, 0, 1]
    out = exchange_cubes(x, source, 2)[:, 0]
    assert out[:, 0, 0, 0].tolist() == [1, 2, 0] and out[:, 1, 1, 1].tolist() == [1, 2, 0]
    assert out[:, 2, 2, 2].tolist() == [2, 0, 1] and out[:, 1, 1, 2].tolist() == [0, 1, 2]


def test_labelled_patches_are_learned_whole_and_with_exchanged_cubes() -> None:
    """The student is shown the two labelled patches as they are, and all four with cubes of each
    other.
    """
    shown: list[torch.Tensor] = []
    student = VNet(2, filters=1, dropout=0.0)
    term = MagicCubes(student, 2, 0.1, 0.2, 0.99, 0.0)
    student.register_forward_pre_hook(lambda module, inputs: shown.append(inputs[0]))
    images = torch.rand(4, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    patches = Labelled(images[:2], (images[:2, 0] > 0.5).long(), torch.ones(2, 1).long())
    losses = term.losses(student, patches, Unlabelled(images[2:]), LAST).losses
    whole, mixed = sorted(shown, key=len)
    assert torch.equal(whole, images[:2]) and len(mixed) == 4 and not torch.equal(mixed, images)
    assert torch.allclose(mixed.sum(0), images.sum(0), atol=1e-5), (
        "at every place the same four cubes"
    )
    assert not torch.equal(losses["supervised"], losses["mixed"])


def test_a_place_is_guessed_from_the_cells_of_its_cube_alone() -> None:
    """Cube i of every patch is grey level i, and the guess is the level seen: right everywhere, so
    its loss is nothing.
    """
    image = torch.empty(2, 1, 32, 32, 64)
    for level, place in enumerate(places(image.shape[2:], 2)):
        image[(..., *place)] = level
    student = Colours(2, filters=1, dropout=0.0)
    term = MagicCubes(student, 2, 0.1, 1.0, 0.99, 0.0)
    nn.init.zeros_(term.place.bias)
    with torch.no_grad():
        term.place.weight.copy_(50 * torch.eye(8, 16))
    patches = Labelled(image, torch.zeros(2, 32, 32, 64).long(), torch.zeros(2, 1).long())
    losses = term.losses(student, patches, Unlabelled(image), LAST).losses
    assert float(losses["place"].detach()) == pytest.approx(0, abs=1e-6)
