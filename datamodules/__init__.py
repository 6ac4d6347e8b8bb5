"""Data sets by name; importing this package imports none of them."""

DATASETS: dict[str, tuple[str, str]] = {
    "synthetic": (
        "datamodules.synthetic:Synthetic",
        "procedural clips with exact truth, generated on this machine",
    ),
    "vggss": ("datamodules.vggss:VggSs", "VGG-SS: 5,158 annotated VGG-Sound clips"),
}
