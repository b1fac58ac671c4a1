"""DAVIS-2016 with the paper's networks and schedule.

    python -m data_prep.prepare --dataset=davis2016 --source=DAVIS --data_dir=data
    python run.py --config=configs/davis.py --workdir=runs/davis

Cost: the paper trains for a day on a GPU; on two CPU cores this takes weeks, see ``small``.
The paper reports J 80.0 on the validation set (Table 5, round 3, with CRF).

Variants, named after a colon:

    configs/davis.py:literal   the game as published: soft masks, purely convolutional ψ;
                               docs/method.md has what stays ours
    configs/davis.py:small     small networks and images; 17 minutes on two cores for 30 videos, J
                               .69 with CRF on nine validation sequences
"""

from ml_collections import ConfigDict, config_dict

VARIANTS = ("", "literal", "small")


def optimizer(learning_rate: float) -> dict:
    """Returns Adam, by optax's defaults the paper's (b1 0.9, b2 0.999). None: optax's default."""
    return dict(
        name="adam",
        learning_rate=learning_rate,
        schedule="constant",
        schedule_steps=0,
        warmup_steps=0,
        gradient_clip=config_dict.placeholder(float),
        backbone_scale=config_dict.placeholder(float),  # ours: of the rate, in the backbone
        weight_decay=config_dict.placeholder(float),
        b1=config_dict.placeholder(float),
        b2=config_dict.placeholder(float),
        eps=config_dict.placeholder(float),
        momentum=config_dict.placeholder(float),
        nesterov=config_dict.placeholder(bool),
    )


def deeplab(backbone: str) -> dict:
    """Returns DeepLab at output stride 8 (Sec. 4 names DeepLab)."""
    return dict(
        backbone=backbone,
        output_stride=8,
        shrink=1,  # ours: 2 shows a network half the resolution
        norm="batch",
        width=config_dict.placeholder(int),  # of backbone "small" only
        dtype="float32",  # or bfloat16
        remat=False,  # ours: True trades time for memory
    )


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; every value is the paper's or says why it is ours."""
    if variant not in VARIANTS:
        names = ", ".join(f"davis.py:{name}" for name in VARIANTS if name)
        raise ValueError(f"configs/davis.py has no variant {variant!r}; there are {names}")
    config = ConfigDict()
    config.seed = 0
    config.runs = ()  # of configs that stand for several runs, see configs/table1.py

    config.data = dict(
        dir="data",  # --data_dir of data_prep.prepare
        train="davis2016:train",  # several, joined by +, are trained on together
        videos=0,  # that many of them, drawn at random by the seed; 0: all. For Table 6
        image_size=(192, 384),  # ours: as in the public CIS code, which the paper builds on
        still_size=(432, 432),  # ours: of single images, as in the public code of [46]
        batch_size=16,  # ours: over all devices; the paper does not say
        keep_in_memory=True,  # ours: decoded pairs, 7 bytes a pixel
        most_memory_gb=0.0,  # of these; 0: half of the machine's memory
        threads=0,  # ours: that load; 0: one for each core, 32 at most
        augmentation=dict(flip=True, smallest_crop=0.8, color=0.2),  # ours
    )

    config.phi = dict(
        # 23.6 M parameters; the paper's 23 M. Ours: the camera's motion is taken out first
        model=deeplab("resnet50") | dict(camera="quadratic"),
        optimizer=optimizer(1e-4),  # Sec. 4
        pretrained="",  # a torchvision ResNet-50 .pth; Sec. 4 takes the weights "as in [81, 46]"
        average_decay=0.999,  # ours: the game wanders around its solution
    )
    config.psi = dict(
        model=dict(
            parametric="affine",  # ours: a global view of camera motion, see docs/method.md
            widths=(32, 64, 128, 256),  # ours
            reweightings=4,
            shrink=1,
            dtype="float32",
        ),
        optimizer=optimizer(1e-4),  # Sec. 4
        average_decay=0.99,
    )
    config.chi = dict(
        model=deeplab("resnet34"),  # 21.3 M parameters; the paper's 21 M
        optimizer=optimizer(2e-5),  # Sec. 4
        pretrained="",  # a torchvision ResNet-34 .pth; the paper does not say
        average_decay=0.99,
    )

    config.loss = dict(
        mask_mode="straight_through",  # ours: soft masks leak, see docs/method.md
        epsilon=1e-2,  # ours: in units of the mean flow length; the paper says 0 < ε ≪ 1
        slowest_flow=1.0,  # ours: pixels; what is slower is mostly the estimator's noise
        confidence_camera="quadratic",  # ours: of L_A in Eq. (7) and in the fusion
        denominator="both",  # ours: bounds Eq. (3) whatever ψ says; "observed" in the paper
        ratio_clip=config_dict.placeholder(float),  # ours: 1.0 makes sense with "observed"
        psi_objective="ratio",  # Eq. (3)
        static="confidence",  # Eq. (7); "f_measure" is Eq. (6) alone, see Table 2
        temporal_weight=0.1,  # Eq. (5); Sec. 5.1 uses 1.0 in Table 1
        alpha2=1.5,  # Eq. (6)
        margin=0.2,  # δ, Sec. 5.2
        consistency_weight=1.0,  # λ_F, Sec. 5.2
        object_weight=1.0,  # λ_obj, Eq. (8)
    )

    config.bootstrap = dict(
        rounds=3,  # Algorithm 1
        growth_rounds=1,  # ours: more of them whenever videos are added to a trained run
        warm_up_epochs=2.0,  # ours: ψ on random regions
        dynamic_epochs=30.0,  # Sec. 4
        static_epochs=15.0,  # Sec. 4
        joint_epochs=15.0,  # ours: the paper does not say
        least_updates=250,  # ours: of a phase, whatever the epochs; DAVIS-2016 has 260 and more
        label_flows=6,  # ours: the frame gaps ±1…±3
        label_vote=True,  # ours
        label_cut=0.5,  # ours: what of φ's masks is above it is object for χ; in the game always ½
        label_crf="none",  # ours: of crf.PRESETS; refines φ's masks before χ learns them
        label_fused=False,  # ours: later, where Eq. (7) takes χ′'s masks, take those of φ and χ′
        phi_updates=3,  # Sec. 4
        psi_updates=1,  # Sec. 4
        chi_updates=1,  # ours: of χ in a step; more where steps take a TPU few milliseconds
        smallest_mask=0.01,
        patience=20,
    )

    # One round after the loop, for single images (Sec. 5.6, Table 4): configs/table4.py.
    config.self_training = dict(data="", crf="deepusps", epochs=15.0)
    # Fine-tuning with labels, for the supervised row of Table 3 and nothing else: the run
    # "supervised" of configs/table3.py.
    config.supervised = dict(data="", select="", epochs=15.0, checks=3)

    config.eval = dict(
        data="davis2016:val",  # several, with commas between them, are scored one by one
        protocol="default",  # of each data set; or the name of one for all
        phases="last",  # or ends of phases, such as "0-dynamic,3-joint"
        crf="cis",  # of videos, as the paper's "similar to [77]"; guided is faster; or none
        still_crf="none",  # of single images: deepusps (as in [46])
        crf_models="fused",  # what it refines, of phi,chi,fused
        crf_backend="numpy",  # on the CPU; "jax" on the device
        oracle=False,  # True: truth chooses which of φ's regions is the object; upper bounds
        batch_size=16,
        flows_per_frame=6,  # φ is averaged over the frame gaps ±1…±3
        vote=True,  # one decision per video on which region is the object
        phi_cut=0.5,  # ours: what of φ's masks is above it is object
        mirror=True,  # ours: χ's masks are the mean of an image's and its mirror image's
        fusion="weighted",  # by L_A; Sec. 5.5 says "weigh"
        fusion_sharpness=8.0,  # ours
        fusion_floor=0.5,  # an L_A below it is noise; ours
        flow_average=0.0,  # ours: share of the neighbours, along the flow, in a fused mask
        # Ours: φ and χ learn from each video itself before it is predicted: transductive scores.
        adaptation=dict(rounds=0, chi_updates=60, phi_rounds=10, crf="medium"),
        trust="loss_a",  # of the other fusions: χ alone where it explains the flow better than φ
        save_masks=True,
        jobs=2,
    )
    config.log = dict(every=20, checkpoint_every=500, keep_checkpoints=2, keep_phases=True)

    if variant == "literal":
        _literal(config)
    elif variant == "small":
        _small(config)
    return config


def _literal(config: ConfigDict) -> None:
    """Sets the game as published, wherever the paper says how.

    Random initial weights, standardised flow and what else docs/method.md lists stay ours.
    """
    config.loss.mask_mode = "soft"
    config.loss.denominator = "observed"
    config.loss.confidence_camera = "none"
    config.psi.model.parametric = "none"
    config.phi.model.camera = "none"
    config.phi.average_decay = 0.0
    config.psi.average_decay = 0.0
    config.chi.average_decay = 0.0
    config.eval.mirror = False
    config.bootstrap.warm_up_epochs = 0.0


def _small(config: ConfigDict) -> None:
    """Fits two CPU cores; φ from scratch, χ from EfficientNet-Lite0's ImageNet weights, both ours.

    ψ is a fit in closed form that learns nothing, and α² is not the paper's.
    """
    config.data.image_size = (192, 352)
    config.data.still_size = (224, 224)
    config.data.batch_size = 8
    config.phi.model.backbone = "small"
    config.phi.model.output_stride = 4
    config.phi.model.shrink = 2  # χ gains from the full size; φ at half of it costs a quarter
    config.phi.model.norm = "group"
    config.phi.optimizer.learning_rate = 5e-4
    config.phi.average_decay = 0.98
    # The robust fit alone: a small network on top of it, learned from scratch, cost φ 6 points of J
    # on girl (SegTrack v2) and 11 on two videos of FBMS; see docs/experiments.md.
    config.psi.model.widths = ()
    config.psi.model.shrink = 2
    config.chi.model.backbone = "efficientnet_lite0"
    config.chi.model.output_stride = 16
    config.chi.model.norm = "frozen"
    config.chi.pretrained = "imagenet"
    config.chi.optimizer.learning_rate = 2e-4
    config.chi.average_decay = 0.98
    # Ours. The F of unsure masks is highest when all above F / (1 + α²) is called object: with the
    # paper's 1.5 masks widen from round to round, with 0.3 they shrink.
    config.loss.alpha2 = 1.0
    config.bootstrap.rounds = 2  # a third gave fused masks .004, with an earlier recipe
    config.bootstrap.warm_up_epochs = 0.0
    config.bootstrap.psi_updates = 0
    config.bootstrap.dynamic_epochs = 1.0  # longer, L_A still rises and masks lose parts
    config.bootstrap.static_epochs = 1.5
    config.bootstrap.joint_epochs = 0.5
    config.bootstrap.least_updates = 80  # 87 of 1,385 frames; 10 frames make 1
    config.bootstrap.label_flows = 2
    config.bootstrap.label_cut = 0.28
    config.bootstrap.label_crf = "light"
    config.bootstrap.label_fused = True
    config.eval.phi_cut = 0.4
    config.eval.crf = "medium"
    config.eval.batch_size = 8  # short videos fill less of the last batch with copies
