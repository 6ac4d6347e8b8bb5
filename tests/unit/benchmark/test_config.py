import hashlib
import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from benchmark.config import RunConfig, compose, parsed, read_settings
from benchmark.settings import content_hash
from methods.hardpos import HardPos
from metrics.errors import BenchError


def composed(*overrides: str, **options: object) -> RunConfig:
    return compose("hardpos", "synthetic", overrides=overrides, **options)  # type: ignore[arg-type]


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text("optim:\n  lr: 1e-4\ndata:\n  root: 0123_456\n  allow_leakage: true\n")
    return path


def test_a_default_stands_where_no_layer_changes_it() -> None:
    config = composed()

    assert (config.optim.weight_decay, config.layers["optim.weight_decay"]) == (0.0, "defaults")


def test_the_recipe_of_a_method_goes_over_the_defaults() -> None:
    config = compose("hardpos", "vggss")

    assert (config.trainer.max_epochs, config.layers["trainer.max_epochs"]) == (20, "recipe")


def test_a_preset_goes_over_the_recipe() -> None:
    config = compose("hardpos", "vggss", preset="small")

    epochs = HardPos.presets["small"]["trainer.max_epochs"]
    assert (config.trainer.max_epochs, config.layers["trainer.max_epochs"]) == (
        epochs, "preset small",
    )  # fmt: skip


def test_a_file_goes_over_the_preset(settings_file: Path) -> None:
    config = composed(files=[settings_file])

    assert (config.optim.lr, config.layers["optim.lr"]) == (1e-4, str(settings_file))


def test_a_later_file_goes_over_an_earlier_one(settings_file: Path, tmp_path: Path) -> None:
    later = tmp_path / "later.yaml"
    later.write_text("optim: {lr: 3e-4}")

    config = composed(files=[settings_file, later])

    assert (config.optim.lr, config.layers["optim.lr"]) == (3e-4, str(later))


def test_the_command_line_goes_over_a_file(settings_file: Path) -> None:
    config = composed("optim.lr=5e-4", files=[settings_file])

    assert (config.optim.lr, config.layers["optim.lr"]) == (5e-4, "command line")


def test_synthetic_takes_the_small_preset_by_default() -> None:
    assert composed().preset == "small"


def test_a_method_without_presets_runs_on_synthetic_all_the_same() -> None:
    assert compose("center", "synthetic").preset is None


def test_vggss_takes_no_preset_by_default() -> None:
    assert compose("hardpos", "vggss").preset is None


def test_the_seed_option_is_a_layer() -> None:
    config = composed(seed=7)

    assert (config.seed, config.values["seed"], config.layers["seed"]) == (7, 7, "--seed")


def test_every_value_has_its_layer() -> None:
    config = composed("optim.lr=1", seed=1, limit=40)

    assert config.values.keys() == config.layers.keys()


def test_a_composed_configuration_is_read_only() -> None:
    with pytest.raises(FrozenInstanceError):
        composed().seed = 1  # type: ignore[misc]


def test_a_limit_lowers_what_so_few_clips_cannot_fill() -> None:
    config = composed(limit=40)

    changed = {key: config.values[key] for key in config.values if config.layers[key] == "--limit"}
    assert changed == {"data.limit": 40, "data.batch_size": 20}


def test_a_large_limit_lowers_nothing() -> None:
    config = composed(limit=2000)

    assert (config.data.batch_size, config.layers["data.batch_size"]) == (64, "preset small")


def test_a_limit_raises_no_batch_size(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("data: {batch_size: 1}\n")

    assert composed(files=[path], limit=40).data.batch_size == 1


def test_a_limit_leaves_what_the_command_line_says() -> None:
    assert composed("data.batch_size=30", limit=40).data.batch_size == 30


def test_a_limit_too_small_for_a_batch_is_refused() -> None:
    with pytest.raises(BenchError, match=r"--limit must be at least 4, got 3"):
        composed(limit=3)


def test_a_dry_run_is_one_epoch_on_32_clips() -> None:
    config = composed(dry_run=True)

    assert (config.trainer.max_epochs, config.data.limit) == (1, 32)
    assert config.layers["trainer.max_epochs"] == "--dry-run"


def test_a_dry_run_keeps_a_lower_limit() -> None:
    assert composed(dry_run=True, limit=8).data.limit == 8


def test_text_stays_as_it_was_written() -> None:
    assert composed("data.root=0123_456").data.root == "0123_456"


@pytest.mark.parametrize("text", ["1e3", "true", "[1, 2]", "{a: 1}", " padded ", "a=b", "'q'"])
def test_text_that_looks_like_another_type_stays_text(text: str) -> None:
    assert composed(f"data.root={text}").data.root == text


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "${nowhere}", "???"])
def test_text_that_omegaconf_would_replace_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match=r"data\.root=.* expected text"):
        composed(f"data.root={text}")


def test_null_is_none_where_the_field_allows_it() -> None:
    assert composed("data.limit=8", "data.root=null").data.root is None


def test_null_is_refused_where_the_field_does_not_allow_it() -> None:
    with pytest.raises(BenchError, match=r"optim\.lr=null \(command line\): expected a number"):
        composed("optim.lr=null")


def test_scientific_notation_is_a_number() -> None:
    assert composed("optim.lr=1e-4").optim.lr == 1e-4


def test_a_whole_number_is_a_number() -> None:
    assert composed("optim.lr=1").optim.lr == 1.0


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False)])
def test_a_bool_is_true_or_false(text: str, value: bool) -> None:
    assert composed(f"data.allow_leakage={text}").data.allow_leakage is value


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.allow_leakage=True", "true or false"),
        ("data.allow_leakage=1", "true or false"),
        ("data.allow_leakage=yes", "true or false"),
        ("trainer.max_epochs=1.5", "a whole number"),
        ("trainer.max_epochs=many", "a whole number"),
        ("trainer.max_epochs=", "a whole number"),
        ("optim.lr=fast", "a number"),
        ("optim.lr=nan", "a number"),
        ("optim.lr=inf", "a number"),
        ("data.limit=1.5", "a whole number or null"),
        ("seed=one", "a whole number"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_what_was_expected(
    override: str, expected: str
) -> None:
    text = override.partition("=")[2]

    with pytest.raises(BenchError) as caught:
        composed(override)

    assert str(caught.value) == f"{override} (command line): expected {expected}, got {text!r}"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=-1", "must be at least 0"),
        ("trainer.max_epochs=0", "must be at least 1"),
        ("trainer.max_epochs=-1", "must be at least 1"),
        ("data.batch_size=0", "must be at least 1"),
        ("data.num_workers=-1", "must be at least 0"),
        ("data.limit=0", "must be at least 1"),
        ("trainer.devices=-1", "must be at least 1"),
        ("trainer.num_nodes=0", "must be at least 1"),
        ("method.image_size=0", "must be at least 16"),
        ("method.sample_rate_hz=0", "must be at least 4000"),
        ("method.segment_seconds=0", "must be at least 0.1"),
        ("optim.weight_decay=-1", "must be at least 0"),
        ("optim.lr=0", "must be above 0"),
        ("optim.lr=-1", "must be above 0"),
    ],
)
def test_a_value_without_meaning_is_refused_with_its_bound(override: str, expected: str) -> None:
    with pytest.raises(BenchError) as caught:
        composed(override)

    assert str(caught.value) == f"{override} (command line): {expected}"


def test_the_smallest_values_are_allowed() -> None:
    config = composed("seed=0", "data.limit=1", "optim.weight_decay=0", "data.num_workers=0")

    assert (config.seed, config.data.limit) == (0, 1)


def test_a_whole_number_may_be_null_where_the_method_then_chooses() -> None:
    assert composed("method.k=null").values["method.k"] is None


def test_values_that_are_no_text_are_left_to_the_schema() -> None:
    assert parsed(0.5, int) == 0.5


def test_an_unknown_key_gets_a_suggestion_and_the_show_command() -> None:
    with pytest.raises(BenchError) as caught:
        composed("optim.lrr=1")

    assert str(caught.value) == (
        "unknown setting 'optim.lrr' (command line). Did you mean optim.lr? "
        "Run bench show --method hardpos --data synthetic to see them all."
    )


def test_a_whole_group_is_no_setting() -> None:
    with pytest.raises(BenchError, match=r"unknown setting 'optim' \(command line\)"):
        composed("optim=adam")


def test_a_setting_of_another_data_set_is_unknown() -> None:
    with pytest.raises(BenchError, match=r"unknown setting 'data\.train_list'"):
        composed("data.train_list=mine.txt")


def test_a_key_given_twice_is_refused_with_both_values() -> None:
    with pytest.raises(BenchError, match=r"^optim\.lr is given twice: 1 and 2$"):
        composed("optim.lr=1", "optim.lr=2")


def test_a_word_that_is_no_setting_is_refused() -> None:
    with pytest.raises(
        BenchError, match=r"^'fast' is neither an option nor a setting; settings look like optim"
    ):
        composed("fast")


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        BenchError,
        match=r"method 'hardpos' has no preset 'smal' \(it has: small\); Did you mean small\?",
    ):
        composed(preset="smal")


def test_a_file_is_read_by_the_types_of_its_fields(settings_file: Path) -> None:
    config = composed(files=[settings_file])

    assert (config.optim.lr, config.data.root, config.data.allow_leakage) == (
        1e-4, "0123_456", True,
    )  # fmt: skip


def test_a_file_may_hold_dotted_keys_and_null(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("optim.lr: 0.5\ndata.root: null\n")

    config = composed(files=[path])

    assert (config.optim.lr, config.data.root) == (0.5, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("optim: {lr: 1e-4", "cannot be read: while parsing a flow mapping"),
        ("- lr\n- 1\n", "must hold settings such as 'optim: {lr: 1e-4}'"),
        ("", "must hold settings"),
        ("seed: 1\nseed: 2\n", "cannot be read: key 'seed' is given twice"),
        (f"seed: {'[' * 20_000}", "cannot be read: maximum recursion depth exceeded"),
        ("optim.lr: 1\noptim: {lr: 2}\n", "key 'optim.lr' is given twice; keep one of them"),
    ],
    ids=["broken", "list", "empty", "twice", "deep", "twice in two forms"],
)
def test_a_file_that_is_no_mapping_is_refused_by_name(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)

    with pytest.raises(BenchError) as caught:
        read_settings(path)

    assert str(caught.value).startswith(f"--config {path}")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"--config .*none\.yaml cannot be read: .*No such file"):
        composed(files=[tmp_path / "none.yaml"])


def test_a_wrong_value_in_a_file_is_reported_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("optim: {lr: [1, 2]}")

    with pytest.raises(BenchError, match=r"optim\.lr=.* \(.*settings\.yaml\): expected a number"):
        composed(files=[path])


def test_an_unknown_key_in_a_file_is_reported_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("optim: {lrr: 1}")

    with pytest.raises(BenchError, match=r"unknown setting 'optim\.lrr' \(.*settings\.yaml\)"):
        composed(files=[path])


@pytest.mark.parametrize(
    "override",
    [
        "trainer.devices=2",
        "trainer.num_nodes=2",
        "trainer.accelerator=cpu",
        "trainer.strategy=ddp",
        "data.num_workers=4",
        "data.root=elsewhere",
        "data.feature_cache=off",
        "data.feature_cache_gb=1",
        "logging.runs=elsewhere",
        "logging.wandb=true",
        "logging.tensorboard=true",
        "logging.validation=true",
        "logging.panel=4",
    ],
)
def test_devices_workers_logging_and_places_do_not_change_what_a_run_is(override: str) -> None:
    assert composed().identity() == composed(override).identity()


def test_shards_in_place_of_a_root_do_not_change_what_a_run_is() -> None:
    at_root = compose("lvs", "vggss", overrides=["data.root=a"])
    in_shards = compose("lvs", "vggss", overrides=["data.shards=s3://b", "data.shard_cache_gb=9"])

    assert at_root.identity() == in_shards.identity()


@pytest.mark.parametrize("is_run", [False, True], ids=["file", "folder of a run"])
def test_weights_of_another_content_are_another_run(tmp_path: Path, is_run: bool) -> None:
    place = tmp_path / "weights.pt"
    if is_run:
        place = tmp_path / "training" / "weights.pt"
        place.parent.mkdir()
    place.write_bytes(b"first")
    named = f"method.pretrained={tmp_path if is_run else place}"
    first = composed(named).identity()

    place.write_bytes(b"other")

    assert first != composed(named).identity()
    assert first["files"] == {"method.pretrained": hashlib.sha256(b"first").hexdigest()}


def test_a_name_of_a_hub_is_no_file() -> None:
    assert "files" not in composed("method.pretrained=resnet18.a1_in1k").identity()


def test_every_other_setting_changes_what_a_run_is() -> None:
    ignored = {
        "trainer.devices", "trainer.num_nodes", "trainer.accelerator", "trainer.strategy",
        "data.num_workers", "data.root", "data.feature_cache", "data.feature_cache_gb",
        "logging.runs", "logging.wandb", "logging.tensorboard", "logging.validation",
        "logging.panel",
    }  # fmt: skip
    config = composed()

    assert set(config.values) - ignored == set(config.identity()["values"])


def test_another_seed_is_what_would_have_been_composed_with_it() -> None:
    first, second = (compose("lvs", "synthetic", seed=seed) for seed in (0, 3))

    assert second == replace(first.with_seed(3), layers=second.layers)


def test_a_default_that_is_written_out_is_the_same_run() -> None:
    assert composed().identity() == composed("optim.weight_decay=0").identity()


def test_the_method_is_part_of_what_a_run_is() -> None:
    one, other = compose("center", "synthetic"), compose("random", "synthetic")

    assert content_hash(one.identity()) != content_hash(other.identity())


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})


def test_all_values_can_stand_in_a_json_file() -> None:
    config = composed("data.root=null")

    assert dict(config.values) == json.loads(json.dumps(dict(config.values)))


def test_layout_and_optimiser_are_settings_where_they_are_known_to_win() -> None:
    laid_out = compose("hardpos", "vggss").values
    others = compose("attention", "vggss").values

    assert (laid_out["method.channels_last"], laid_out["optim.fused"]) == (True, True)
    assert "method.channels_last" not in others
    assert others["optim.fused"] is True


def test_memory_and_compiling_are_part_of_a_runs_identity() -> None:
    usual = composed()

    assert (usual.memory.maps, usual.trainer.compile) == ("auto", False)
    for word in ("memory.maps=chunked", "trainer.compile=true"):
        assert content_hash(composed(word).identity()) != content_hash(usual.identity())
