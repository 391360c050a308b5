"""What can be set for each method, what supervision it uses, and where its algorithm lives.

This file is the registry of methods. It imports no torch, so that a study is validated and planned at
once; the algorithm itself is in the module that `implementation` names. Defaults are the papers' values.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Temperature = Annotated[float, Field(gt=0)]
Width = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Momentum = Annotated[float, Field(ge=0, le=1)]
Supervision = Literal["none", "labels", "captions"]


class MethodOptions(BaseModel):
    """Base of all options: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    implementation: ClassVar[str]
    """"module:Class" of the algorithm."""
    supervision: ClassVar[Supervision] = "none"
    views: ClassVar[int | None] = None
    """How many views a sample needs; None if the method takes what its recipe gives."""
    trained: ClassVar[bool] = True
    """False for reference rows, which are computed or left as they are initialised."""
    seeded: ClassVar[bool] = True
    """False if nothing depends on the seed; such a row is run once."""
    paper: ClassVar[str] = ""


class RawPixelsOptions(MethodOptions):
    method: Literal["raw_pixels"] = "raw_pixels"
    implementation: ClassVar[str] = "replearn.methods.references:RawPixels"
    trained: ClassVar[bool] = False
    seeded: ClassVar[bool] = False


class PCAOptions(MethodOptions):
    method: Literal["pca"] = "pca"
    implementation: ClassVar[str] = "replearn.methods.references:PCA"
    trained: ClassVar[bool] = False
    seeded: ClassVar[bool] = False
    paper: ClassVar[str] = "Pearson 1901"
    components: Width | None = None
    """Number of components; the encoder's width if absent."""


class RandomInitOptions(MethodOptions):
    method: Literal["random_init"] = "random_init"
    implementation: ClassVar[str] = "replearn.methods.references:RandomInit"
    trained: ClassVar[bool] = False


class SupervisedOptions(MethodOptions):
    method: Literal["supervised"] = "supervised"
    implementation: ClassVar[str] = "replearn.methods.supervised:Supervised"
    supervision: ClassVar[Supervision] = "labels"
    views: ClassVar[int | None] = 1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class AutoencoderOptions(MethodOptions):
    method: Literal["autoencoder"] = "autoencoder"
    implementation: ClassVar[str] = "replearn.methods.autoencoder:Autoencoder"
    views: ClassVar[int | None] = 1
    paper: ClassVar[str] = "Hinton & Salakhutdinov 2006"
    latent: Width = 64
    """Width of the bottleneck z."""
    decoder_width: Width = 32
    """Channels of the decoder's last stage."""
    linear: bool = False
    """Encoder and decoder are one matrix each, whatever the study's encoder."""


class InpaintingOptions(MethodOptions):
    method: Literal["inpainting"] = "inpainting"
    implementation: ClassVar[str] = "replearn.methods.inpainting:Inpainting"
    views: ClassVar[int | None] = 1
    paper: ClassVar[str] = "Pathak et al. 2016"
    hole: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Side of the square hole as a share of the image's; a quarter of its area (section 3.3)."""
    decoder_width: Width = 32
    """Channels of the decoder's last stage."""


class JigsawOptions(MethodOptions):
    method: Literal["jigsaw"] = "jigsaw"
    implementation: ClassVar[str] = "replearn.methods.jigsaw:Jigsaw"
    views: ClassVar[int | None] = 1
    paper: ClassVar[str] = "Noroozi & Favaro 2016"
    grid: Literal[2, 3] = 3
    """Tiles in a row and in a column (section 3)."""
    permutations: Annotated[int, Field(ge=2, le=1000)] = 100
    """Classes: permutations far from each other; with a grid of 2 there are no more than 24."""
    gap: Annotated[int, Field(ge=0)] = 11
    """Pixels by which a tile is smaller than its cell, at most a third of it (64 of 75 in the paper)."""
    hidden: Width = 4096


class RelativePositionOptions(MethodOptions):
    method: Literal["relative_position"] = "relative_position"
    implementation: ClassVar[str] = "replearn.methods.relative_position:RelativePosition"
    views: ClassVar[int | None] = 1
    paper: ClassVar[str] = "Doersch et al. 2015"
    gap: Annotated[int, Field(ge=0)] = 48
    """Pixels by which a tile is smaller than its cell, at most a third of it (half a tile, section 3.1)."""
    hidden: Width = 4096


class DistillationOptions(MethodOptions):
    method: Literal["distillation"] = "distillation"
    implementation: ClassVar[str] = "replearn.methods.distillation:Distillation"
    supervision: ClassVar[Supervision] = "labels"
    views: ClassVar[int | None] = 1
    paper: ClassVar[str] = "Hinton et al. 2015"
    teacher: Annotated[str, Field(min_length=1)] = "supervised"
    """The row of the study that teaches: "supervised", or "supervised/<variant>"."""
    temperature: Temperature = 4.0
    """T of both softmaxes."""
    weight: Share = 0.9
    """α of the soft targets; the labels get 1 − α."""

    @property
    def teacher_row(self) -> tuple[str, str]:
        """Method and variant of the teacher."""
        method, _, variant = self.teacher.partition("/")
        return method, variant or "default"


class TripletOptions(MethodOptions):
    method: Literal["triplet"] = "triplet"
    implementation: ClassVar[str] = "replearn.methods.triplet:Triplet"
    supervision: ClassVar[Supervision] = "labels"
    paper: ClassVar[str] = "Schroff et al. 2015 (FaceNet)"
    margin: Annotated[float, Field(ge=0)] = 0.2
    """Separation m of cosine similarities; FaceNet's 0.2 (section 3.1)."""
    mining: Literal["random", "semi-hard", "hard"] = "semi-hard"
    neighbourhoods: Annotated[int, Field(ge=0)] = 0
    """Clusters from which batches are filled; 0 draws batches uniformly."""
    recluster_every: Annotated[int, Field(ge=1)] = 1
    """Epochs between two clustering phases."""
    hidden: Width = 512
    output: Width = 128


class SupConOptions(MethodOptions):
    method: Literal["supcon"] = "supcon"
    implementation: ClassVar[str] = "replearn.methods.supcon:SupCon"
    supervision: ClassVar[Supervision] = "labels"
    paper: ClassVar[str] = "Khosla et al. 2020"
    temperature: Temperature = 0.1
    """τ = 0.1 (section 4 of the paper)."""
    positives: Annotated[int, Field(ge=1)] | None = None
    """Positives of an anchor: its own other views first, then drawn from its class; all of them if absent."""
    hidden: Width = 2048
    output: Width = 128


class SimCLROptions(MethodOptions):
    method: Literal["simclr"] = "simclr"
    implementation: ClassVar[str] = "replearn.methods.simclr:SimCLR"
    views: ClassVar[int | None] = 2
    paper: ClassVar[str] = "Chen et al. 2020"
    temperature: Temperature = 0.5
    """τ = 0.5, best on CIFAR-10 for long training (appendix B.9)."""
    layers: Annotated[int, Field(ge=0, le=4)] = 2
    """Layers of the projection head; 1 is linear, 0 none (figure 8)."""
    hidden: Width = 2048
    output: Width = 128


class BYOLOptions(MethodOptions):
    method: Literal["byol"] = "byol"
    implementation: ClassVar[str] = "replearn.methods.byol:BYOL"
    views: ClassVar[int | None] = 2
    paper: ClassVar[str] = "Grill et al. 2020"
    momentum: Momentum = 0.996
    """λ at the start; it rises to 1 along a cosine (section 3.3)."""
    hidden: Width = 4096
    output: Width = 256
    predictor_hidden: Width = 4096
    predictor: bool = True
    ema: bool = True
    """Without it the online network is its own target, as in SimSiam (table 5 of the paper: "no target")."""
    stop_gradient: bool = True
    """Without it the gradient also flows through the target, which then is the online network."""


class DINOOptions(MethodOptions):
    method: Literal["dino"] = "dino"
    implementation: ClassVar[str] = "replearn.methods.dino:DINO"
    paper: ClassVar[str] = "Caron et al. 2021"
    student_temperature: Temperature = 0.1
    teacher_temperature_start: Temperature = 0.04
    teacher_temperature: Temperature = 0.07
    teacher_warmup: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the training over which the teacher's temperature rises (30 of 100 epochs, section 3.2)."""
    momentum: Momentum = 0.996
    """m at the start; it rises to 1 along a cosine (section 3.1)."""
    center_momentum: Momentum = 0.9
    centering: bool = True
    freeze_last_layer: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the training during which the prototypes rest (1 of 100 epochs, appendix C)."""
    layers: Annotated[int, Field(ge=1, le=4)] = 3
    hidden: Width = 2048
    bottleneck: Width = 256
    prototypes: Width = 65536


class GramOptions(DINOOptions):
    method: Literal["gram"] = "gram"  # type: ignore[assignment]
    implementation: ClassVar[str] = "replearn.methods.gram:Gram"
    paper: ClassVar[str] = "Siméoni et al. 2025 (DINOv3)"
    gram_weight: Annotated[float, Field(ge=0)] = 2.0
    """w of the Gram loss (section 4.2); with 0 its distance is only measured."""
    anchor_start: Share = 0.5
    """Share of the training after which the teacher is kept as the anchor (late, in section 4.2)."""
    anchor_every: Share = 0.0
    """Share of the training between two renewals of the anchor; 0 keeps the first."""


class CLIPOptions(MethodOptions):
    method: Literal["clip"] = "clip"
    implementation: ClassVar[str] = "replearn.methods.clip:CLIP"
    supervision: ClassVar[Supervision] = "captions"
    views: ClassVar[int | None] = 1
    paper: ClassVar[str] = "Radford et al. 2021"
    temperature: Temperature = 0.07
    """Initial τ (section 2.5)."""
    learn_temperature: bool = True
    largest_scale: Annotated[float, Field(gt=1)] = 100.0
    """Upper clamp of 1/τ (section 2.5)."""
    context: Annotated[int, Field(ge=3)] = 77
    """Tokens of a caption, its start and end marks included."""
    text_width: Width = 512
    text_layers: Width = 12
    text_heads: Width = 8
    output: Width = 512


METHODS: dict[str, type[MethodOptions]] = {
    "raw_pixels": RawPixelsOptions,
    "pca": PCAOptions,
    "random_init": RandomInitOptions,
    "supervised": SupervisedOptions,
    "autoencoder": AutoencoderOptions,
    "inpainting": InpaintingOptions,
    "jigsaw": JigsawOptions,
    "relative_position": RelativePositionOptions,
    "distillation": DistillationOptions,
    "triplet": TripletOptions,
    "supcon": SupConOptions,
    "simclr": SimCLROptions,
    "byol": BYOLOptions,
    "dino": DINOOptions,
    "gram": GramOptions,
    "clip": CLIPOptions,
}
