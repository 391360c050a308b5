from __future__ import annotations

import pytest
import torch

from replearn.evaluate.retrieval import prompt_classification, prompt_predict, recall_at


def test_prompts_classify_by_cosine() -> None:
    prompts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    image = torch.tensor([[5.0, 1.0], [0.1, 0.2], [-3.0, 1.0], [1.0, 2.0]])
    assert prompt_predict(image, prompts).tolist() == [0, 1, 2, 1]
    assert prompt_classification(image, prompts, torch.tensor([0, 1, 2, 0])) == 0.75


def test_recall_agrees_with_loops() -> None:
    random = torch.Generator().manual_seed(0)
    image = torch.randn(60, 8, generator=random)
    groups = torch.randint(40, (60,), generator=random)
    of_group = torch.randn(40, 8, generator=random)
    text = of_group[groups] + image.mean(0)
    image = image + text
    first = [i for i in range(60) if groups[i] not in groups[:i]]
    found = recall_at(image, text, groups, (1, 5, 10, 100))
    for name, queries, answers, offered in (
        ("image_to_text", image, text, first),
        ("text_to_image", text, image, list(range(60))),
    ):
        for k in (1, 5, 10, 100):
            hits = 0
            for i in range(60):
                cosine = {
                    j: float(queries[i] @ answers[j] / queries[i].norm() / answers[j].norm())
                    for j in offered
                }
                best = sorted(offered, key=lambda j: -cosine[j])[:k]
                hits += any(groups[j] == groups[i] for j in best)
            assert found[f"{name}_r{k}"] == pytest.approx(hits / 60)
    assert found["image_to_text_r100"] == 1
    assert 0 < found["image_to_text_r1"] < 1


def test_equal_captions_are_one_candidate_and_correct_answers() -> None:
    image = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.8, 0.6, 0.0]])
    text = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.6, 0.8, 0.0]])
    alone = recall_at(image, text, torch.arange(3), (1, 2))
    equal = recall_at(image, text, torch.tensor([7, 7, 1]), (1, 2))
    assert alone["image_to_text_r1"] < equal["image_to_text_r1"] == 1
    assert equal["text_to_image_r1"] == 1


def test_a_constant_embedding_finds_nothing() -> None:
    found = recall_at(torch.ones(20, 4), torch.ones(20, 4), torch.arange(20), (1, 10))
    assert set(found.values()) == {0.0}


def test_refuses_what_does_not_match() -> None:
    with pytest.raises(ValueError, match="embeddings are"):
        prompt_predict(torch.ones(3, 4), torch.ones(3, 5))
    with pytest.raises(ValueError, match="no embeddings"):
        prompt_predict(torch.ones(0, 4), torch.ones(3, 4))
    with pytest.raises(ValueError, match="2 labels for 3"):
        prompt_classification(torch.ones(3, 4), torch.ones(3, 4), torch.zeros(2))
    with pytest.raises(ValueError, match="same number of rows"):
        recall_at(torch.ones(3, 4), torch.ones(2, 4), torch.arange(3))
