"""The whole loop on the embedded data set `movers`, with small networks.

    make demo
    python run.py --config=configs/demo.py --workdir=runs/demo

Cost: 5 minutes on two CPU cores, data, training and evaluation. No download, no data set.
Expect a fused J of about 0.87 on the test split, 0.90 with the CRF; README has what was measured.
"""

from ml_collections import ConfigDict

from configs import davis


def get_config() -> ConfigDict:
    """Returns ``davis.py:small`` but for what follows, all of it ours; no pretrained weights.

    As there, ψ is a fit in closed form that learns nothing.
    """
    config = davis.get_config("small")
    config.data.train = "movers:train"
    config.data.image_size = (96, 160)
    config.phi.model.shrink = 1
    config.phi.optimizer.learning_rate = 1e-3
    config.psi.model.shrink = 1
    config.loss.alpha2 = 0.3
    config.bootstrap.dynamic_epochs = 2.0
    config.bootstrap.static_epochs = 2.5
    config.bootstrap.joint_epochs = 0.75
    config.bootstrap.label_cut = 0.5
    config.bootstrap.label_crf = "none"
    config.bootstrap.label_fused = False
    config.chi.model.backbone = "small"
    config.chi.model.output_stride = 4
    config.chi.model.norm = "group"
    config.chi.pretrained = ""
    config.chi.optimizer.learning_rate = 1e-3
    config.eval.data = "movers:test"
    config.eval.flows_per_frame = 2
    config.eval.phi_cut = 0.5
    return config
