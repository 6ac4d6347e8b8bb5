"""Methods by name; importing this package imports none of them."""

METHODS: dict[str, tuple[str, str]] = {
    "attention": (
        "methods.attention:Attention",
        "sound attends to places, softmax; unsupervised to supervised (Senocak et al. 2018)",
    ),
    "attention_relu": (
        "methods.attention_relu:AttentionRelu",
        "sound attends to places, ReLU and softmax (Senocak et al. 2018)",
    ),
    "hardpos": (
        "methods.hardpos:HardPos",
        "contrastive maps with mined hard positives (Senocak et al. 2022)",
    ),
    "lvs_vanilla": (
        "methods.lvs_vanilla:LvsVanilla",
        "contrastive maps without a tri-map, the baseline of hardpos (Senocak et al. 2022)",
    ),
    "lvs": (
        "methods.lvs:Lvs",
        "contrastive maps with the tri-map of hard negatives (Chen et al. 2021)",
    ),
    "ezvsl": (
        "methods.ezvsl:Ezvsl",
        "contrastive maps by their largest cell alone (Mo and Morgado 2022, EZ-VSL)",
    ),
    "slavc": (
        "methods.slavc:Slavc",
        "which sound times where, against slow copies (Mo and Morgado 2022, SLAVC)",
    ),
    "fnac": (
        "methods.fnac:Fnac",
        "ezvsl with pair scores drawn to how alike sounds and images are (Sun et al. 2023)",
    ),
    "sslalign": (
        "methods.sslalign:SslAlign",
        "cosine maps of released weights, tested and not trained (Senocak et al. 2023)",
    ),
    "ssltie": (
        "methods.ssltie:SslTie",
        "cosine maps of released weights, tested and not trained (Liu et al. 2022)",
    ),
    "proposal": (
        "methods.proposal:Proposal",
        "boxes by multiple-instance learning, several sources (Xuan et al. 2022)",
    ),
    "warmup": (
        "methods.warmup:Warmup",
        "small streams by InfoNCE, which other methods start from; of no paper",
    ),
    "avfb": (
        "methods.avfb:Avfb",
        "fusion and attention over segments, with classes or without (Ramaswamy and Das 2020)",
    ),
    "center": ("methods.floors:Center", "floor: a disc in the middle, cut by each rule"),
    "mean_box": ("methods.floors:MeanBox", "floor: the mean truth of the other folds"),
    "full": ("methods.floors:Full", "floor: every pixel"),
    "random": ("methods.floors:Random", "floor: uniform noise, 100 draws"),
    "saliency": ("methods.saliency:Saliency", "floor: what an ImageNet classifier sees, by frame"),
    "all_objects": ("methods.floors:AllObjects", "floor: every object, sounding or not"),
}
