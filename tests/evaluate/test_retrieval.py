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
    text = image + torch.randn(60, 8, generator=random)
    groups = torch.randint(40, (60,), generator=random)
    found = recall_at(image, text, groups, (1, 5, 10, 100))
    for name, queries, answers in (("image_to_text", image, text), ("text_to_image", text, image)):
        for k in (1, 5, 10, 100):
            hits = 0
            for i in range(60):
                cosine = [
                    float(queries[i] @ answers[j] / queries[i].norm() / answers[j].norm())
                    for j in range(60)
                ]
                best = sorted(range(60), key=lambda j: -cosine[j])[:k]
                hits += any(groups[j] == groups[i] for j in best)
            assert found[f"{name}_r{k}"] == pytest.approx(hits / 60)
    assert found["image_to_text_r100"] == 1


def test_equal_captions_are_correct_answers() -> None:
    image = torch.eye(3)
    text = torch.stack([image[1], image[0], image[2]])
    assert recall_at(image, text, torch.arange(3), (1,))["image_to_text_r1"] == pytest.approx(1 / 3)
    assert recall_at(image, text, torch.tensor([7, 7, 1]), (1,))["image_to_text_r1"] == 1


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
