import csv
import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import timm
import torch
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler

from multihot.data.manifest import Manifest
from multihot.errors import InputError
from multihot.labels import Group, LabelSpace
from multihot.loss import BinaryCrossEntropy, MultiLabelLoss, UnknownStrategy
from multihot.model.features import read_features
from multihot.model.heads import CSRA, MLDecoder, TwoLogit, install_head, start_at_log_odds
from multihot.model.logistic import Answers, fit_logistic
from multihot.model.prior import prior_log_odds
from multihot.model.sources import name_imagenet
from multihot.model.start import (
    ByName,
    Fit,
    FreshHead,
    Keep,
    Prior,
    Random,
    carry_by_name,
    fit_rows,
    format_table,
    keep_rows,
    match_labels,
    read_aliases,
)
from multihot.model.weight_files import Classifier

NUM_IMAGES, WIDTH = 300, 24
LABELS = ("cat", "dog", "owl")
SPACE = LabelSpace(LABELS)
MEAN_OF_PATCHES = partial(CSRA, num_heads=1, attention_weight=0.0)
HEADS = {"linear": None, "two_logit": partial(TwoLogit), "csra": MEAN_OF_PATCHES}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def create(num_labels=3, head=None, width=WIDTH):
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=16, embed_dim=width, depth=1, num_heads=2, num_classes=0
    )
    install_head(model, head, num_labels)
    return model.eval()


def manifest(target, labels=LABELS, groups=()):
    target = np.asarray(target, np.int8)
    return Manifest(tuple(labels), [str(row) for row in range(len(target))], csr_array(target), groups=groups)


@pytest.fixture
def features():
    return torch.randn(NUM_IMAGES, WIDTH) * torch.linspace(0.1, 10, WIDTH) + torch.linspace(-5, 5, WIDTH)


@pytest.fixture
def target(features):
    """Multi-hot (N, 3), each label with a direction of its own and noise."""
    standard = (features - features.mean(0)) / features.std(0)
    logits = standard @ torch.randn(WIDTH, 3) / 2 + torch.tensor([0.0, -1.0, -2.0])
    return (torch.rand(NUM_IMAGES, 3) < logits.sigmoid()).float()


def classifier(names, is_multi_label=False, width=WIDTH, **changes):
    names = tuple(names)
    known = Classifier(names, torch.randn(len(names), width), torch.randn(len(names)), is_multi_label, "")
    return replace(known, **changes)


def logits_of(features, weight, bias):
    return features @ weight.mT + bias


def never(**settings):
    raise AssertionError("not needed")


BY_NAME, KEEP = ByName(class_names=None, aliases=None), Keep(class_names=None, grow=False)


def begin(model, start, data, source=None, features=None, space=SPACE, **more):
    """Returns what each label got from a start; a source or features that are not given are not asked for."""
    read_classifier = never if source is None else lambda class_names: source
    pooled_features = never if features is None else lambda: features
    return start.set_weights(FreshHead(model, space, data, read_classifier, pooled_features, **more))


# The prior


def test_the_prior_gives_each_label_its_frequency_among_known_answers():
    target = [[1, 0, 0], [1, -1, 0], [0, -1, 0], [1, 1, 0]]
    # cat 3 of 4, dog 1 of 2; owl 0 of 4, taken for half an image
    probability = torch.sigmoid(prior_log_odds(SPACE, manifest(target)))
    torch.testing.assert_close(probability, torch.tensor([0.75, 0.5, 0.125]))


def test_labels_on_all_images_have_a_finite_prior():
    probability = torch.sigmoid(prior_log_odds(SPACE, manifest([[1, 0, 1], [1, 1, 0]])))
    torch.testing.assert_close(probability, torch.tensor([0.75, 0.5, 0.5]))


def test_the_prior_of_a_label_with_few_answers_is_half_an_image_of_these_away_from_certain():
    target = np.full((1000, 3), -1)
    target[:, 0], target[:5, 1], target[7, 2] = 0, 1, 1
    probability = torch.sigmoid(prior_log_odds(SPACE, manifest(target)))
    torch.testing.assert_close(probability, torch.tensor([0.5 / 1000, 1 - 0.5 / 5, 0.5]))


def test_a_label_without_an_answer_has_the_mean_prior_of_the_others():
    log_odds = prior_log_odds(SPACE, manifest([[1, 1, -1], [1, 0, -1], [1, 0, -1], [0, 0, -1]]))
    torch.testing.assert_close(log_odds, torch.tensor([math.log(3), -math.log(3), 0.0]))
    log_odds = prior_log_odds(SPACE, manifest([[1, -1, -1], [1, -1, -1], [1, -1, -1], [0, -1, -1]]))
    torch.testing.assert_close(log_odds, torch.full((3,), math.log(3)))
    assert prior_log_odds(SPACE, manifest(np.full((4, 3), -1))).tolist() == [0, 0, 0]


def draw_answers(unknown=0.0, seed=0, groups=()):
    """Returns a manifest of 400 images whose labels differ in frequency, and in how often they are unknown."""
    generator = np.random.RandomState(seed)
    target = (generator.random_sample((400, 3)) < [0.1, 0.5, 0.7]).astype(np.int8)
    target[generator.random_sample((400, 3)) < unknown * np.array([1.0, 0.5, 0.2])] = -1
    return manifest(target, groups=groups)


STRATEGIES = [
    UnknownStrategy(),
    UnknownStrategy("negative"),
    UnknownStrategy("weak_negative", weight=0.3),
]
EACH_STRATEGY = pytest.mark.parametrize("unknown", STRATEGIES, ids=lambda unknown: unknown.strategy)


@EACH_STRATEGY
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("unlisted", [0, -1])
def test_no_other_biases_than_the_prior_have_a_lower_first_loss(unknown, is_weighted, unlisted):
    data = draw_answers(unknown=0.8)
    if unlisted:
        answers = data.targets.toarray()
        answers[:, 2] = np.where(answers[:, 2] == 0, -1, answers[:, 2])
        row, column = (answers >= 0).nonzero()  # which are stored
        data = replace(data, targets=csr_array((answers[row, column], (row, column)), answers.shape), unlisted=-1)
        unknown = unknown if unknown.element_weight else STRATEGIES[1]  # ignored, they leave a label that is certain
    weights = np.random.RandomState(1).choice([0.0, 1.0, 5.0], 400).astype(np.float32) if is_weighted else None
    data = replace(data, weights=weights)
    log_odds = prior_log_odds(SPACE, data, unknown).double().requires_grad_()
    loss = MultiLabelLoss(BinaryCrossEntropy(), SPACE, unknown=unknown, reduction="sum")
    target = torch.from_numpy(data.dense_targets()).double()
    loss(log_odds.expand(400, -1), target, None if weights is None else torch.from_numpy(weights)).backward()
    torch.testing.assert_close(log_odds.grad, torch.zeros(3, dtype=torch.float64), atol=1e-4, rtol=0)


@EACH_STRATEGY
def test_the_prior_of_labels_that_are_fully_known_is_what_it_was(unknown):
    data = draw_answers()
    soft = replace(data, targets=data.targets.astype(np.float32))
    for part in (data, soft, replace(data, weights=np.full(400, 3.0))):
        frequency = torch.from_numpy(data.targets.toarray().mean(axis=0, dtype=np.float64))
        assert torch.equal(prior_log_odds(SPACE, part, unknown), torch.logit(frequency).float())


def test_images_of_weight_0_are_as_if_they_were_not_there():
    data = draw_answers(unknown=0.5)
    kept = np.arange(400) % 3 != 0
    weighted = replace(data, weights=np.where(kept, 2.0, 0.0).astype(np.float32))
    rare = replace(weighted, targets=csr_array(weighted.targets.toarray() * np.int8([0, 1, 1])))  # the margin too
    for whole in (weighted, rare):
        alone = replace(whole.subset(np.flatnonzero(kept)), weights=None)
        torch.testing.assert_close(prior_log_odds(SPACE, whole), prior_log_odds(SPACE, alone))
    nothing = replace(data, weights=np.zeros(400, np.float32))
    assert prior_log_odds(SPACE, nothing).tolist() == [0, 0, 0]


@EACH_STRATEGY
@pytest.mark.parametrize("unlisted", [0, -1])
def test_the_prior_of_a_group_counts_the_images_whose_outcome_is_known(unknown, unlisted):
    group = Group("kind", ("dog", "owl"))
    target = np.int8([[1, 1, -1]] * 6 + [[0, -1, 1]] * 2 + [[0, -1, -1]] * 5)
    data = manifest(target, groups=(group,))
    if unlisted:
        stored = target >= 0
        targets = csr_array((target[stored], stored.nonzero()), target.shape)
        data = replace(data, targets=targets, unlisted=-1)
    space = LabelSpace(LABELS, (group,))
    probability = space.probability(prior_log_odds(space, data, unknown)[None])[0]
    torch.testing.assert_close(probability, torch.tensor([6 / 13, 0.75, 0.25]))
    silent = manifest([[1, -1, -1], [0, -1, -1]], groups=(group,))
    assert prior_log_odds(space, silent, unknown).tolist() == [0, 0, 0]


@pytest.mark.parametrize("none", [False, True])
def test_the_prior_of_a_group_is_its_frequencies(none):
    labels, group = ("red", "cat", "green"), Group("colour", ("green", "red"), none)
    target = np.zeros((10, 3), np.int8)
    target[:6, 0], target[6:9, 2], target[9, 2 if not none else 1] = 1, 1, 1
    data = manifest(target, labels, (group,))
    space = data.label_space(single_label=False, activation="sigmoid")
    probability = space.probability(prior_log_odds(space, data)[None])[0]
    expected = torch.tensor([0.6, 0.1 if none else 0.05, 0.3 if none else 0.4])  # with none: one of ten images
    torch.testing.assert_close(probability, expected)


def test_an_absent_label_of_a_group_has_a_small_finite_prior():
    labels, group = ("red", "green"), Group("colour", ("red", "green"), none=True)
    data = manifest([[1, 0], [1, 0]], labels, (group,))
    space = data.label_space(single_label=False, activation="sigmoid")
    log_odds = prior_log_odds(space, data)
    # red 0.75, green 0.25, none 0.25 before the softmax makes them one
    torch.testing.assert_close(space.probability(log_odds[None]), torch.tensor([[0.6, 0.2]]))


@pytest.mark.parametrize(("start", "word"), [(Prior(), "prior"), (Random(), "random")])
def test_starts_without_a_source_need_neither_classifier_nor_features(start, word):
    model, data = create(), manifest([[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    random = model.head.weight.clone()
    table = begin(model, start, data)
    assert [(row.label, row.start) for row in table] == [(label, word) for label in LABELS]
    logits = model(torch.randn(2, 3, 32, 32))
    if word == "prior":
        assert torch.equal(logits, prior_log_odds(SPACE, data).expand(2, -1))
    else:
        assert torch.equal(model.head.weight, random)


# Logistic regression


def fit_with_sklearn(features, target, l2):
    """Returns the log-odds (N, C) of scikit-learn's logistic regression, fitted to the known answers of each label."""
    columns = []
    standard = StandardScaler().fit_transform(features.double())
    for answer in target.T:
        known = answer >= 0
        model = LogisticRegression(C=1 / l2, max_iter=5000, tol=1e-8).fit(standard[known], answer[known])
        columns.append(torch.from_numpy(model.decision_function(standard)))
    return torch.stack(columns, dim=1).float()


@pytest.mark.parametrize("l2", [0.1, 1.0, 100.0])
def test_the_fit_equals_scikit_learn_label_by_label(features, target, l2):
    logits = logits_of(features, *fit_logistic(features, Answers(SPACE, target), l2))
    torch.testing.assert_close(logits, fit_with_sklearn(features, target, l2), atol=2e-3, rtol=1e-3)


def test_the_fit_leaves_unknown_answers_out(features, target):
    target[torch.rand(target.shape) < 0.3] = -1
    logits = logits_of(features, *fit_logistic(features, Answers(SPACE, target), 1.0))
    torch.testing.assert_close(logits, fit_with_sklearn(features, target, 1.0), atol=2e-3, rtol=1e-3)


def fit_expanded(features, target, l2):
    """Returns scikit-learn's log-odds (N, C) with each unknown answer as an absent one of weight 0.3."""
    columns, standard = [], StandardScaler().fit_transform(features.double())
    for answer in target.T:
        weight = np.where(answer < 0, 0.3, 1.0)
        model = LogisticRegression(C=1 / l2, max_iter=5000, tol=1e-8)
        columns.append(model.fit(standard, answer.clamp(min=0), weight).decision_function(standard))
    return torch.from_numpy(np.stack(columns, axis=1)).float()


def test_the_fit_takes_unknown_answers_as_the_loss_does(features, target):
    target[torch.rand(target.shape) < 0.3] = -1
    ignored, negative, weak = (
        logits_of(features, *fit_logistic(features, Answers(SPACE, target, unknown=unknown), 1.0))
        for unknown in STRATEGIES
    )
    torch.testing.assert_close(ignored, fit_with_sklearn(features, target, 1.0), atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(negative, fit_with_sklearn(features, target.clamp(min=0), 1.0), atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(weak, fit_expanded(features, target, 1.0), atol=5e-3, rtol=1e-3)


def test_the_fit_counts_an_image_by_its_weight(features, target):
    times = torch.randint(0, 4, (NUM_IMAGES,))
    logits = logits_of(features, *fit_logistic(features, Answers(SPACE, target, times.float()), 1.0))
    repeated, answers = (part.repeat_interleave(times, dim=0) for part in (features, target))
    expected = logits_of(features, *fit_logistic(repeated, Answers(SPACE, answers), 1.0))
    torch.testing.assert_close(logits, expected, atol=5e-3, rtol=1e-3)


def draw_colours(features):
    """Returns one of three colours an image (N,), more or less likely by its features."""
    standard = (features - features.mean(0)) / features.std(0)
    return torch.distributions.Categorical(logits=standard @ torch.randn(WIDTH, 3) / 3).sample()


def test_the_fit_of_a_group_equals_multinomial_logistic_regression(features, target):
    choice = draw_colours(features)
    labels = ("cat", "red", "green", "blue")
    space = LabelSpace(labels, (Group("colour", labels[1:]),))
    both = torch.cat([target[:, :1], torch.nn.functional.one_hot(choice, 3).float()], dim=1)
    weight, bias = fit_logistic(features, Answers(space, both), 1.0)
    standard = StandardScaler().fit_transform(features.double())
    reference = LogisticRegression(C=1.0, max_iter=5000, tol=1e-8).fit(standard, choice)
    expected = torch.from_numpy(reference.predict_proba(standard)).float()
    probability = space.probability(logits_of(features, weight, bias))
    torch.testing.assert_close(probability[:, 1:], expected, atol=1e-3, rtol=0)
    # and the label outside is fitted as if there were no group
    alone = fit_with_sklearn(features, target[:, :1], 1.0).sigmoid()
    torch.testing.assert_close(probability[:, :1], alone, atol=1e-3, rtol=0)


def test_the_fit_of_a_group_with_none_equals_multinomial_logistic_regression_relative_to_none(features):
    choice = draw_colours(features)
    space = LabelSpace(("red", "green"), (Group("colour", ("red", "green"), none=True),))
    target = torch.nn.functional.one_hot(choice, 3)[:, :2].float()  # the third is none
    probability = space.probability(logits_of(features, *fit_logistic(features, Answers(space, target), 1e-3)))
    standard = StandardScaler().fit_transform(features.double())
    reference = LogisticRegression(C=1e3, max_iter=5000, tol=1e-8).fit(standard, choice)  # barely regularised: "none"
    expected = torch.from_numpy(reference.predict_proba(standard)).float()[:, :2]  # has weights there and not here
    torch.testing.assert_close(probability, expected, atol=1e-3, rtol=0)


def test_a_feature_that_never_changes_is_no_harm(features, target):
    constant = torch.cat([features, torch.full((NUM_IMAGES, 1), 3.3)], dim=1)
    logits = logits_of(constant, *fit_logistic(constant, Answers(SPACE, target), 1.0))
    torch.testing.assert_close(logits, fit_with_sklearn(features, target, 1.0), atol=2e-3, rtol=1e-3)


# Starting from a fit


def easy_problem(features):
    """Returns a target (N, 3) of two labels that features tell apart and one that is on no image."""
    standard = (features - features.mean(0)) / features.std(0)
    return torch.stack([standard[:, 0] > 0.5, standard[:, 1] > 1.0, torch.zeros(NUM_IMAGES, dtype=bool)], 1).float()


def test_a_fit_solves_an_easy_problem_and_leaves_a_label_without_positives_at_the_prior(features):
    model, target = create(), easy_problem(features)
    data = manifest(target)
    table = begin(model, Fit(), data, features=features)
    assert [row.start for row in table] == ["fit", "fit", "prior"]
    assert table[0].source.startswith("l2 ")
    logits = model.head(features).detach()
    for column in (0, 1):
        assert average_precision_score(target[:, column], logits[:, column]) > 0.95
    assert torch.equal(logits[:, 2], prior_log_odds(SPACE, data)[2].expand(NUM_IMAGES))


def test_a_fit_keeps_the_prior_of_labels_without_a_known_negative_or_any_answer(features, target):
    target[:, 1], target[target[:, 2] == 0, 2] = -1, -1
    data = manifest(target)
    model = create()
    table = begin(model, Fit(), data, features=features)
    assert [row.start for row in table] == ["fit", "prior", "prior"]
    assert torch.equal(model.head(features)[:, 1:], prior_log_odds(SPACE, data)[1:].expand(NUM_IMAGES, -1))


def test_a_fit_regularises_noise_more_than_signal(features):
    noise = (torch.rand(NUM_IMAGES, 3) < 0.5).float()
    strengths = []
    for target in (noise, easy_problem(features)):
        table = fit_rows(create(), features, Answers(SPACE, target))
        strengths.append(float(table[0].source.removeprefix("l2 ")))
    assert strengths[0] >= 100 > strengths[1]


def test_a_fit_needs_no_more_than_two_images(features, target):
    target[:2] = torch.tensor([[0.0, 0, 1], [1, 0, 1]])
    for num_images, starts in ((2, ["fit", "prior", "prior"]), (1, ["prior"] * 3)):
        table = fit_rows(create(), features[:num_images], Answers(SPACE, target[:num_images]))
        assert [row.start for row in table] == starts


@pytest.mark.parametrize("head", HEADS)
def test_after_a_fit_the_model_gives_features_times_weight_plus_bias(head):
    model, image = create(head=HEADS[head]), torch.randn(40, 3, 32, 32)
    with torch.no_grad():
        features = read_features(model, image)
    features = features if features.ndim == 2 else features[:, 1:].mean(dim=1)  # of the patches
    target = (torch.rand(40, 3) < 0.4).float()
    table = begin(model, Fit(), manifest(target), features=features)
    weight, bias = fit_logistic(features, Answers(SPACE, target), l2=float(table[0].source.removeprefix("l2 ")))
    torch.testing.assert_close(model(image), logits_of(features, weight, bias), atol=1e-5, rtol=1e-4)


# Carrying over rows by name


def carry(model, source, matches, features, target, space=SPACE):
    prior = prior_log_odds(space, manifest(target, space.labels, space.groups))
    start_at_log_odds(model, prior)
    return carry_by_name(model, source, matches, prior, features, Answers(space, target))


def test_a_scale_and_a_bias_make_the_mean_probability_the_frequency(features, target):
    source, model = classifier(("dog", "lion", "cat")), create()
    matches = {0: [2], 1: [0]}
    table = carry(model, source, matches, features, target)
    probability = model.head(features).sigmoid()
    torch.testing.assert_close(probability[:, :2].mean(dim=0), target[:, :2].mean(dim=0), atol=1e-4, rtol=0)
    assert [row.source for row in table] == ["cat", "dog", ""]
    for column, row in ((0, 2), (1, 0)):
        weight = model.head.weight[column]
        torch.testing.assert_close(weight, table[column].scale * source.weight[row])  # a multiple of the source's row
        assert table[column].bias == pytest.approx(model.head.bias[column].item())
        # and the best of all: scikit-learn's on the source's logit
        logit = logits_of(features, source.weight[[row]], source.bias[row])
        reference = fit_with_sklearn(logit, target[:, [column]], l2=1e-3)[:, 0]
        torch.testing.assert_close(model.head(features)[:, column], reference, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("none", [False, True])
def test_labels_of_a_group_are_scaled_together(features, target, none):
    colours = torch.nn.functional.one_hot(draw_colours(features), 3).float()
    labels, group = ("red", "cat", "green", "blue"), Group("colour", ("blue", "green", "red")[: 3 - none], none)
    space, source, model = LabelSpace(labels, (group,)), classifier(("green", "cat", "red", "blue")), create(4)
    answers = torch.stack([colours[:, 0], target[:, 0], colours[:, 1], colours[:, 2]], dim=1)
    matches = {0: [2], 1: [1], 2: [0], 3: [3]}
    table = carry(model, source, matches, features, answers, space)
    assert [row.source for row in table] == ["red", "cat", "green", "blue"]
    probability = space.probability(model.head(features))
    torch.testing.assert_close(probability.mean(dim=0), answers.mean(dim=0), atol=1e-4, rtol=0)
    # without a class of its own green keeps the prior, and red and blue are fitted beside it
    del matches[2]
    table = carry(model, source, matches, features, answers, space)
    assert [row.start for row in table] == ["carried", "carried", "prior", "carried"]
    probability = space.probability(model.head(features))
    torch.testing.assert_close(probability.mean(dim=0)[[0, 1, 3]], answers.mean(dim=0)[[0, 1, 3]], atol=1e-4, rtol=0)
    assert torch.equal(model.head(features)[:, 2], prior_log_odds(space, manifest(answers, labels))[2].expand(300))


def test_rows_are_carried_and_fitted_to_the_answers_and_weights_of_the_loss(features, target):
    target[:, 1] = torch.where(target[:, 1] == 0, -1, target[:, 1])  # no known negative
    weights = np.random.RandomState(0).choice([0.0, 1.0, 4.0], NUM_IMAGES).astype(np.float32)
    data, source = replace(manifest(target), weights=weights), classifier(LABELS)
    share = torch.from_numpy(weights) / weights.sum()
    for unknown, starts in ((STRATEGIES[0], ["{}", "prior", "{}"]), (STRATEGIES[1], ["{}", "{}", "{}"])):
        for start, word in ((BY_NAME, "carried"), (Fit(), "fit")):
            model = create()
            table = begin(model, start, data, source, features, unknown=unknown)
            assert [row.start for row in table] == [expected.format(word) for expected in starts]
            # biases are free, so that the weighted mean probability is the weighted frequency
            probability = share @ model.head(features).detach().sigmoid()
            fitted = [column for column in range(3) if table[column].start == word]
            torch.testing.assert_close(probability[fitted], (share @ target.clamp(min=0))[fitted], atol=2e-3, rtol=0)


def test_labels_that_only_images_of_weight_0_tell_apart_keep_the_prior(features, target):
    weights = torch.where(target[:, 0] == 1, 0.0, 1.0).numpy()
    data = replace(manifest(target), weights=weights)
    table = begin(create(), Fit(), data, features=features)
    assert [row.start for row in table] == ["prior", "fit", "fit"]


def test_only_labels_with_a_class_and_both_answers_are_carried(features, target):
    target[:, 1] = 0
    source, model = classifier(("Dog", "CAT")), create()
    data = manifest(target)
    table = begin(model, BY_NAME, data, source, features)
    assert [row.start for row in table] == ["carried", "prior", "prior"]
    assert torch.equal(model.head(features)[:, 1:], prior_log_odds(SPACE, data)[1:].expand(NUM_IMAGES, -1))
    assert model.head.weight[0].any()


def test_a_label_of_several_classes_takes_their_mean(features, target):
    source, model = classifier(("tabby", "dog", "siamese")), create()
    table = carry(model, source, {0: [0, 2]}, features, target)
    mean = (source.weight[0] + source.weight[2]) / 2
    torch.testing.assert_close(model.head.weight[0], table[0].scale * mean)
    assert table[0].source == "tabby; siamese"


def test_a_classifier_without_biases_is_carried_and_kept(features, target):
    source = classifier(LABELS, is_multi_label=True, bias=None)
    carry(create(), source, {0: [0]}, features, target)
    model = create()
    keep_rows(model, SPACE, source, grow=False)
    assert torch.equal(model.head.weight, source.weight)
    assert not model.head.bias.any()


def matches(labels, names, aliases=None):
    return match_labels(LabelSpace(tuple(labels)), classifier(names), aliases or {})


def test_names_are_compared_without_case_underscores_and_extra_spaces():
    assert matches(("Sea_lion", "polar bear"), ("POLAR  BEAR ", "sea lion", "cat")) == {0: [1], 1: [0]}


def test_a_class_is_found_by_each_of_its_synonyms():
    labels = ("goldfish", "Carassius auratus", "tench, Tinca tinca", "gold")
    assert matches(labels, name_imagenet(1000)) == {0: [1], 1: [1], 2: [0]}
    # two of ImageNet's classes are a crane: the bird and the machine
    assert matches(("crane",), name_imagenet(1000)) == {0: [134, 517]}


def test_aliases_take_the_place_of_the_label_itself():
    names = ("dog", "hound", "wolf", "cat")
    assert matches(("dog", "cat"), names, {"dog": ["hound", "wolf"]}) == {0: [1, 2], 1: [3]}


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_file_of_aliases_has_names_or_lists_of_them(tmp_path, suffix):
    content = {"dog": ["hound", "wolf"], "cat": "tabby", "7": "seven"}
    lines = "dog: [hound, wolf]\ncat: tabby\n7: seven\n"
    (tmp_path / f"a.{suffix}").write_text(json.dumps(content) if suffix == "json" else lines)
    expected = {"dog": ["hound", "wolf"], "cat": ["tabby"], "7": ["seven"]}
    assert read_aliases(str(tmp_path / f"a.{suffix}")) == expected
    assert read_aliases(None) == {}


def test_wrong_aliases_are_named(tmp_path):
    with pytest.raises(InputError, match="dog: hund\n  owl: no such label"):
        matches(("dog",), ("hound",), {"dog": ["hound", "hund"], "owl": ["hound"]})
    with pytest.raises(InputError, match="there is no such file"):
        read_aliases(str(tmp_path / "none.yaml"))
    (tmp_path / "list.yaml").write_text("- dog\n- cat\n")
    with pytest.raises(InputError, match="must be a mapping"):
        read_aliases(str(tmp_path / "list.yaml"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("dog: [hound\n", "cannot be read: .* line"),
        ("dog: hound\ndog: wolf\n", "cannot be read: .*duplicate key"),
        ("dog: ${oops\n", "cannot be read"),
        (b"dog: h\xfcnd\n", "cannot be read"),
        ("", "must be a mapping"),
        ("no: norway\nyes: [japan]\n", "in quotes:\n  False: norway\n  True: "),
        ("dog: null\ncat: []\nowl: {a: b}\n", "no text.*dog: None\n  cat: .*\n  owl: "),
    ],
)
def test_a_file_of_aliases_that_is_no_mapping_of_words_is_named(content, words, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=f"(?s)start.aliases=.*a.yaml .*{words}"):
        read_aliases(str(path))


def test_a_class_without_a_name_is_no_label():
    assert match_labels(LabelSpace(("", "dog")), classifier(("", " ", "dog")), {}) == {1: [2]}


@pytest.mark.parametrize("start", [BY_NAME, Fit()])
def test_features_that_are_not_finite_are_named_by_their_images(start, features, target):
    features[7, 3] = float("nan")
    data = manifest(target)
    with pytest.raises(InputError, match=f"NaN or infinite features for 1 of 300 .*\n  {data.images[7]}"):
        begin(create(), start, data, classifier(LABELS), features)


@pytest.mark.parametrize("start", [BY_NAME, KEEP])
def test_rows_of_another_width_and_labels_that_come_twice_are_refused(start, target):
    wide = classifier(LABELS, is_multi_label=True, width=2 * WIDTH)
    with pytest.raises(InputError, match="read 48 features and the model gives 24"):
        begin(create(), start, manifest(target), wide)
    with pytest.raises(InputError, match="more than once:\n  cat"):
        keep_rows(create(), SPACE, classifier(("cat", "dog", "cat"), is_multi_label=True), grow=False)


def test_no_match_at_all_is_an_error_with_the_ways_out():
    with pytest.raises(InputError, match=r"none of the 3 labels.*tench.*start\.aliases.*start=prior or fit"):
        matches(LABELS, ("tench", "shark"))


@pytest.mark.parametrize(("start", "word"), [(BY_NAME, "by_name"), (KEEP, "keep")])
def test_a_source_without_a_classifier_is_refused_with_the_reason(start, word):
    reason = "its classifier is not linear"
    source = Classifier(None, None, None, True, reason)
    with pytest.raises(InputError, match=f"start={word} needs .*{reason}"):
        begin(create(), start, manifest([[1, 0, 0]]), source)


@pytest.mark.parametrize("start", [BY_NAME, KEEP, Fit()])
def test_heads_whose_logits_are_no_product_with_a_row_are_refused(features, target, start):
    decoder = partial(MLDecoder, num_groups=2, decoder_width=None, num_heads=2, feedforward_width=8, dropout=0.0)
    source = classifier(LABELS, is_multi_label=True)
    with pytest.raises(InputError, match=r"MLDecoder.*Take head=linear"):
        begin(create(head=decoder), start, manifest(target), source, features)


# Keeping the rows of a multi-label classifier


def test_rows_are_kept_by_name_and_not_by_position():
    labels = tuple(f"label {number}" for number in range(14))
    source = classifier(labels, is_multi_label=True)
    order = torch.randperm(14).tolist()
    image, models = torch.randn(7, 3, 32, 32), []
    for places in (range(14), order):
        torch.manual_seed(1)
        model = create(14)
        space = LabelSpace(tuple(labels[place] for place in places))
        table = keep_rows(model, space, source, grow=False)
        assert {row.start for row in table} == {"kept"}
        models.append(model)
    straight, permuted = models
    assert torch.equal(straight.head.weight, source.weight)  # unchanged, to the bit
    assert torch.equal(straight.head.bias, source.bias)
    assert torch.equal(permuted.head.weight, source.weight[order])
    assert torch.equal(permuted.head.bias, source.bias[order])
    # the product's sums run in another order for another column: up to their rounding
    torch.testing.assert_close(permuted(image), straight(image)[:, order], atol=1e-6, rtol=1e-6)


def test_missing_and_additional_labels_are_named():
    source = classifier(("cat", "dog", "fish"), is_multi_label=True)
    with pytest.raises(InputError) as error:
        keep_rows(create(), SPACE, source, grow=False)
    assert "'owl': not in the source (start.grow=true adds it)" in str(error.value)
    assert "'fish': only in the source (name it in data.labels)" in str(error.value)
    with pytest.raises(InputError, match="'fish': only in the source"):
        keep_rows(create(), SPACE, source, grow=True)


def test_rows_of_a_softmax_classifier_are_not_kept():
    with pytest.raises(InputError, match=r"multi-label source.*by_name"):
        keep_rows(create(), SPACE, classifier(LABELS), grow=False)


@pytest.mark.parametrize(("num_old", "num_new"), [(3, 5), (14, 20), (1000, 1003)])
@pytest.mark.parametrize("head", ["linear", "two_logit"])
def test_a_head_that_grows_keeps_the_old_rows_to_the_bit_and_starts_new_ones_at_the_prior(head, num_old, num_new):
    labels = tuple(f"label {number}" for number in range(num_new))
    source = classifier(labels[:num_old], is_multi_label=True)
    data = manifest(np.random.RandomState(0).random_sample((40, num_new)) < 0.3, labels)
    old, new = create(num_old, HEADS[head]), create(num_new, HEADS[head])
    keep_rows(old, LabelSpace(labels[:num_old]), source, grow=False)
    table = begin(new, replace(KEEP, grow=True), data, source, space=LabelSpace(labels))
    assert [row.start for row in table] == ["kept"] * num_old + ["new"] * (num_new - num_old)
    for before, after in zip(old.head.parameters(), new.head.parameters(), strict=True):
        assert torch.equal(after[: len(before)], before)
    prior = prior_log_odds(LabelSpace(labels), data)[num_old:]
    for batch_size in (1, 7, 32):
        features = torch.randn(batch_size, WIDTH)
        assert torch.equal(new.head(features)[:, num_old:], prior.expand(batch_size, -1))
        # of weights that are the same; a product of another size may sum them in another order
        torch.testing.assert_close(new.head(features)[:, :num_old], old.head(features), atol=1e-5, rtol=1e-5)


def test_the_table_is_csv_with_a_line_a_label(features, target):
    rows = carry(create(), classifier(("dog", "big, cat")), {0: [1]}, features, target)
    lines = list(csv.reader(format_table(rows).splitlines()))
    assert lines[0] == ["label", "start", "source", "scale", "bias"]
    assert lines[1][:3] == ["cat", "carried", "big, cat"]
    assert float(lines[1][3]) == pytest.approx(rows[0].scale, abs=1e-4)
    assert lines[2] == ["dog", "prior", "", "", ""]
