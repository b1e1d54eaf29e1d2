"""The gallery: what it reads, what it refuses, and how its page behaves in a browser."""

import html
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from urllib.parse import unquote_to_bytes

from HW3.support.process import RunError

import pytest

from HW3 import gallery
from HW3.support import run_folder
from HW3.support.stages import STAGES
from tests.conftest import train

ROOT = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SEEN = "return {panels: $$('.panel').length, text: $('main').textContent};"
PICTURE = (ROOT / "imgs/vae_sample.png").read_bytes()


def make_run(folder: Path, checkpoint: str, columns: str, rows: list[str], flags: dict, *grids: str) -> None:
    """Write what a run leaves in its folder, as far as the gallery reads it."""
    folder.mkdir(parents=True)
    (folder / checkpoint).write_bytes(b"x" * 1_500_000)
    (folder / "metrics.csv").write_text("\n".join([columns, *rows]) + "\n")
    (folder / "flags.json").write_text(json.dumps(flags))
    for name in grids:
        (folder / name).write_bytes(PICTURE)


@pytest.fixture
def result(tmp_path) -> Path:
    """A folder with a VAE's run of three epochs, and one of CLIP that is still under way."""
    root = tmp_path / "result"
    grids = [f"{kind}_epoch_{epoch:03d}.png" for kind in ("samples", "recon") for epoch in (1, 2, 3)]
    rows = [f"{epoch},{50 / epoch},{60 / epoch},{4.5 * epoch}" for epoch in (1, 2, 3)]
    make_run(root / "vae", "convae_latest.pt", "epoch,loss,val_loss,seconds", rows, {"epochs": 3}, *grids)
    flags = {"epochs": 10, "data_dir": "</script><b>"}
    rows = ["1,0.5,0.91,30", "2,0.25,0.97,30"]
    make_run(root / "clip", "clip_latest.pt", "epoch,loss,val_accuracy,seconds", rows, flags)
    return root


def data_of(page: Path) -> dict:
    """Return the data within a page."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1])


def part(page: Path, stage: str) -> dict:
    """Return the part of a page that is about a stage."""
    return next(p for p in data_of(page)["parts"] if p["title"] == gallery.title(STAGES[stage]))


def test_scripts_refresh_the_page_after_every_epoch(trained):
    data = data_of(trained.folder / "index.html")
    assert [part["name"] for part in data["parts"]] == list(STAGES)
    for part in data["parts"]:
        assert [row["epoch"] for row in part["metrics"]] == [1, 2] and part["epochs"] == 2
        assert all(set(files) == {"1", "2"} for files in part["grids"].values())
        assert any(part["checkpoints"]) and part["dataset"] == "synthetic"


def test_page_names_what_is_there_and_what_is_missing(result, tmp_path):
    data = data_of(gallery.build(result))
    vae, clip = data["parts"][0], data["parts"][3]
    assert vae["grids"]["recon"] == {str(e): f"vae/recon_epoch_00{e}.png" for e in (1, 2, 3)}
    assert vae["checkpoints"] == ["convae_latest.pt (1.5 MB)"]
    assert clip["board"].endswith("result/clip/clip_latest.pt") and "board" not in vae
    assert clip["metrics"][1] == {"epoch": 2, "loss": 0.25, "val_accuracy": 0.97, "seconds": 30}
    missing = [part for part in data["parts"] if "command" in part]
    titles = [gallery.title(stage) for name, stage in STAGES.items() if name not in ("vae", "clip")]
    assert [part["title"] for part in missing] == titles
    assert missing[1]["needs"] == "stage 1"


def test_commands_are_the_quickstart(result):
    quickstart = re.search(r"## Quickstart\n\n```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[
        1
    ]
    commands = [gallery.command(stage, Path("result")) for stage in STAGES.values()]
    assert commands == quickstart.splitlines()


def test_commands_of_another_folder_train_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vae = "python train_vae.py --epochs 40 --kl-weight 0.5"
    for root in (tmp_path / "my runs", Path("my runs")):
        assert gallery.command(STAGES["vae"], root) == f"{vae} --out_dir 'my runs/vae'"
        needed = {"name": "vae_2", "dataset": "synthetic"}
        latent = gallery.command(STAGES["latent_diffusion"], root, needed)
        assert latent.endswith("--dataset synthetic --out_dir 'my runs/latent_diffusion'")
        assert "--vae_ckpt 'my runs/vae_2/convae_latest.pt'" in latent
    assert gallery.command(STAGES["vae"], tmp_path.parent).endswith(f"--out_dir {tmp_path.parent}/vae")


def test_command_of_a_missing_stage_takes_the_data_set_of_the_run_that_it_builds_on(result):
    for name, dataset in (("clip", "kmnist"), ("vae", "fashion_mnist")):
        flags = json.loads((result / name / "flags.json").read_text())
        (result / name / "flags.json").write_text(json.dumps(flags | {"dataset": dataset}))
    latent, tiny_sd = (part(gallery.build(result), name) for name in ("latent_diffusion", "tiny_sd"))
    assert "--dataset fashion_mnist" in latent["command"] and "vae/convae_latest.pt" in latent["command"]
    assert "--dataset kmnist" in tiny_sd["command"] and "clip/clip_latest.pt" in tiny_sd["command"]


def test_open_page_reloads_until_the_next_epoch_may_be_there(result):
    def reloads_for(page: Path) -> float:
        return data_of(page)["reload_until"] - time.time()

    assert reloads_for(gallery.build(result)) == pytest.approx(gallery.RELOADING, abs=60)
    (result / "clip/metrics.csv").write_text("epoch,loss,seconds\n1,0.5,1200\n")
    assert reloads_for(gallery.build(result)) == pytest.approx(6000, abs=60)
    assert reloads_for(gallery.build(result, embed=True)) < 0


def test_earlier_run_moves_aside_with_its_flags_and_stays_visible(tmp_path):
    assert train("vae", tmp_path, "--epochs=1") == train("vae", tmp_path, "--epochs=1") == 0
    assert (tmp_path / "vae.1/flags.json").exists()
    data = data_of(tmp_path / "index.html")
    assert [(part["name"], part["aside"]) for part in data["parts"][:2]] == [("vae", False), ("vae.1", True)]


def test_run_that_ended_in_its_first_epoch_is_not_moved_aside(tmp_path):
    for _ in range(2):
        run_folder.open_run_folder(tmp_path / "vae", "vae", [], {"epochs": 3})
    assert [path.name for path in tmp_path.iterdir()] == ["vae"]


def test_weight_in_a_name_is_no_number_of_an_earlier_run(result):
    for name in ("vae.1", "vae_1", "vae_1.5"):
        shutil.copytree(result / "vae", result / name)
        flags = json.loads((result / name / "flags.json").read_text())
        flags["out_dir"] = str(result / name.removesuffix(".1"))
        (result / name / "flags.json").write_text(json.dumps(flags))
    runs = data_of(gallery.build(result))["parts"][:4]
    assert [(run["name"], run["aside"]) for run in runs] == [
        ("vae", False),
        ("vae_1", False),
        ("vae_1.5", False),
        ("vae.1", True),
    ]


def test_embedded_page_stands_alone(result, tmp_path):
    page = gallery.build(result, embed=True)
    sources = [url for kind in data_of(page)["parts"][0]["grids"].values() for url in kind.values()]
    assert len(sources) == 6 and all(url.startswith("data:image/png;base64,iVBOR") for url in sources)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.csv", ""),
        ("metrics.csv", "epoch,loss,seconds\n"),
        ("metrics.csv", "epoch,loss,seconds\n1,x,3\n"),
        ("metrics.csv", "epoch,loss,seconds\n1\n"),
        ("metrics.csv", "epoch,loss,seconds\n1,2,3,4\n"),
        ("metrics.csv", "epoch;loss;seconds\n1;0,5;3\n"),
        ("metrics.csv", "loss,seconds\n1,3\n"),
        ("metrics.csv", "epoch,loss,seconds\n1,nan,3\n"),
        ("metrics.csv", "epoch,loss,seconds\n1,2,3\n2,-inf,3\n"),
        ("metrics.csv", "epoch,loss,seconds\n1,2,3\n1,2,3\n"),
        ("metrics.csv", "epoch,loss,seconds\n0.5,2,3\n"),
        ("metrics.csv", "epoch,loss,seconds\n1,\0,3\n"),
        ("metrics.csv", "\ud8ff"),
        ("metrics.csv", None),
        ("flags.json", "{"),
        ("flags.json", "[1]"),
        ("flags.json", '{"epochs": null}'),
        ("flags.json", '{"epochs": 1e999}'),
        ("flags.json", '{"epochs": 3, "lr": NaN}'),
        ("flags.json", '{"a":' * 5000),
    ],
)
def test_damaged_run_is_named_and_spares_the_others(result, name, content):
    (result / "vae" / name).unlink()
    if content is not None:
        (result / "vae" / name).write_bytes(content.encode(errors="surrogatepass"))
    vae, clip = (part(gallery.build(result), name) for name in ("vae", "clip"))
    assert vae["problem"].startswith(f"{name} is damaged: ") and clip["metrics"]


def test_damaged_run_is_shown_beside_the_others(result):
    (result / "vae/metrics.csv").write_text("epoch,loss,seconds\n1,nan,3\n")
    gallery.build(result)
    seen = in_browser(
        result / "index.html", "return {text: $('main').textContent, charts: $$('.chart').length};"
    )
    assert "row 2, column loss: 'nan' is not a finite number" in seen["text"] and seen["charts"] == 2


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("flags.json", '{"epochs": 3, "x":' + "[" * 900 + "]" * 900 + "}"),
        ("metrics.csv", "epoch,loss,seconds\n1,2,1e308\n"),
        ("metrics.csv", "epoch,constructor,toString,seconds\n1,2,3,4\n"),
    ],
)
def test_odd_run_is_shown_and_spares_the_others(result, file, content):
    (result / "vae" / file).write_text(content)
    gallery.build(result)
    seen = in_browser(
        result / "index.html", "return {panels: $$('.panel').length, text: $('main').textContent};"
    )
    assert seen["panels"] == len(STAGES) and "can't be shown" not in seen["text"]


def test_picture_that_is_none_is_left_out(result):
    (result / "vae/samples_epoch_004.png").symlink_to("nowhere")
    (result / "vae/samples_epoch_005.png").mkdir()
    page = gallery.build(result, embed=True)
    assert list(data_of(page)["parts"][0]["grids"]["samples"]) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("low", "high"), [(-1e308, 1e308), (1e300, 1e300), (5e-324, 1e-323), (1e17, 1e17 + 64)]
)
def test_numbers_of_any_size_leave_the_page_alive(result, low, high):
    (result / "vae/metrics.csv").write_text(f"epoch,loss,seconds\n1,{low},3\n2,{high},3\n")
    gallery.build(result)
    seen = in_browser(result / "index.html", "return {panels: $$('.panel').length};")
    assert seen["panels"] == len(STAGES)


def test_table_saved_by_a_spreadsheet_is_read(result):
    """With a byte-order mark, Windows's ends of lines, and sorted by another column."""
    rows = ["epoch,loss,val_loss,seconds", "3,16,20,13", "1,50,60,4", "2,25,30,9", ""]
    (result / "vae/metrics.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    vae = data_of(gallery.build(result))["parts"][0]
    assert [row["epoch"] for row in vae["metrics"]] == [1, 2, 3] and vae["seconds"] == 13


def test_other_pictures_are_left_out(result):
    for name in ("samples_epoch_001 (1).png", "samples_epoch_001 copy.png", "notes.png"):
        (result / "vae" / name).write_bytes(PICTURE)
    grids = data_of(gallery.build(result))["parts"][0]["grids"]
    assert {kind: list(files) for kind, files in grids.items()} == {
        k: ["1", "2", "3"] for k in ("recon", "samples")
    }


@pytest.mark.parametrize("name", ["vae <1> & 50%#", "\udcff"])
def test_names_are_no_markup_and_no_broken_links(result, name):
    (result / "vae").rename(result / name)
    page = gallery.build(result)
    assert page.read_text().count("</script>") == 2
    url = data_of(page)["parts"][0]["grids"]["samples"]["1"]
    assert os.fsdecode(unquote_to_bytes(url)) == f"{name}/samples_epoch_001.png" and re.fullmatch(
        r"[\w%./]+", url
    )


def test_other_page_is_left_alone(result, capsys):
    (result / "index.html").write_text("<h1>mine</h1>")
    assert gallery.main([str(result)]) == 2
    assert "is not a page of this gallery" in capsys.readouterr().err
    gallery.refresh(result / "vae")
    assert "note: the gallery was not refreshed" in capsys.readouterr().err
    assert (result / "index.html").read_text() == "<h1>mine</h1>"


def test_training_goes_on_where_the_page_cant_be_written(tmp_path, capsys, monkeypatch):
    def full(path, content, patience):
        raise RunError(f"{path} can't be written: No space left on device")

    monkeypatch.setattr(gallery, "write_whole", full)
    assert train("vae", tmp_path) == 0
    assert capsys.readouterr().err.count("No space left on device") == 2  # a note per epoch
    assert (tmp_path / "vae/convae_latest.pt").exists()


def test_missing_folder_is_explained(tmp_path, capsys):
    assert gallery.main([str(tmp_path / "none")]) == 2
    assert "none is not a folder" in capsys.readouterr().err
    assert gallery.main([str(tmp_path)]) == 2
    assert "holds a run" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_refreshing_opens_no_picture(result, monkeypatch):
    """So a whole homework's page, 40 epochs in each stage, costs next to nothing."""
    for stage in STAGES.values():
        grids = [f"{kind}_epoch_{epoch:03d}.png" for kind in ("a", "b") for epoch in range(1, 41)]
        rows = [f"{epoch},1,1" for epoch in range(1, 41)]
        make_run(result / f"full_{stage.name}", stage.latest, "epoch,loss,seconds", rows, {}, *grids)
    opened = []
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path) or b"")
    page = gallery.build(result)
    assert not opened and page.stat().st_size < 100_000
    gallery.build(result, embed=True)
    assert len(opened) == 6 + len(STAGES) * 80  # this is how a picture would be opened


DRIVE = """
const $ = selector => document.querySelector(selector);
const $$ = selector => [...document.querySelectorAll(selector)];
const pause = ms => new Promise(done => setTimeout(done, ms));
const loaded = async img => {
  while (!img.complete) await pause(50);
  return img.naturalWidth > 0;
};
addEventListener("load", async () => {
  const seen = await (async () => {%s})();
  document.documentElement.dataset.seen = JSON.stringify({...seen, errors});
});
"""


def in_browser(page: Path, script: str, seconds: int = 8) -> dict:
    """Open a page in headless Chromium, and return what the body of an async function returns in it.

    The browser's clock runs as fast as it can, for so many seconds.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    watch = 'const errors = []; addEventListener("error", e => errors.push(e.message ?? e.target.src), true);'
    text = page.read_text(encoding="utf-8").replace("<head>", f"<head><script>{watch}</script>")
    driven = page.with_name("driven.html")
    driven.write_text(text.replace("</body>", f"<script>{DRIVE % script}</script></body>"))
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --dump-dom"
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [CHROMIUM, *flags.split(), f"--virtual-time-budget={1000 * seconds}", profile, driven.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert "data-seen" in done.stdout, done.stderr
    seen = json.loads(html.unescape(re.search(r'data-seen="(.*?)"', done.stdout)[1]))
    assert seen.pop("errors") == []
    return seen


def test_slider_moves_picture_and_curves(result):
    seen = in_browser(
        gallery.build(result),
        """
        const slider = $("#slider-vae"), imgs = $$("#run-vae .zoom img");
        const before = imgs.map(img => img.src);
        const visible = await Promise.all(imgs.map(loaded));
        slider.value = 0;
        slider.dispatchEvent(new Event("input"));
        return {before, visible, after: imgs.map(img => img.src), alt: imgs[0].alt,
          loaded: await Promise.all(imgs.map(loaded)), spoken: slider.getAttribute("aria-valuetext"),
          rendering: getComputedStyle(imgs[0]).imageRendering,
          readout: $("#run-vae .readout").textContent};
        """,
    )
    assert [Path(url).name for url in seen["before"]] == ["recon_epoch_003.png", "samples_epoch_003.png"]
    assert [Path(url).name for url in seen["after"]] == ["recon_epoch_001.png", "samples_epoch_001.png"]
    assert all(seen["visible"] + seen["loaded"]) and seen["rendering"] == "pixelated"
    assert seen["alt"] == "recon of vae after epoch 1" and seen["spoken"] == "epoch 1 of 3"
    assert seen["readout"] == "epoch 1: loss 50, val_loss 60"


def test_curves_have_a_point_per_epoch_and_show_values_under_the_pointer(result):
    seen = in_browser(
        gallery.build(result),
        """
        const svg = $("#run-vae svg"), box = svg.getBoundingClientRect(), readout = $("#run-vae .readout");
        const at = share => ({clientX: box.left + share * box.width, clientY: box.top + 5, bubbles: true});
        svg.dispatchEvent(new PointerEvent("pointermove", at(0.55)));
        const hovered = readout.textContent;
        svg.dispatchEvent(new PointerEvent("pointerleave"));
        return {points: $$("#run-vae svg g").map(g => g.querySelectorAll("circle").length), hovered,
          left: readout.textContent, charts: $$("#run-clip svg").map(svg => svg.getAttribute("aria-label"))};
        """,
    )
    assert seen["points"] == [3, 3]
    assert seen["hovered"] == "epoch 2: loss 25, val_loss 30" and seen["left"].startswith("epoch 3: ")
    assert seen["charts"] == [
        "loss over epochs 1 to 2: loss from 0.5 to 0.25",
        "accuracy over epochs 1 to 2: val_accuracy from 0.91 to 0.97",
    ]


def test_play_runs_to_the_last_epoch_and_pictures_enlarge(result):
    seen = in_browser(
        gallery.build(result),
        """
        const play = $("#run-vae .controls button"), slider = $("#slider-vae");
        play.click();
        const first = slider.value, playing = play.textContent;
        await pause(3000);
        const last = slider.value, stopped = play.textContent;
        $("#run-vae .zoom").click();
        const large = {open: $("dialog").open, src: $("dialog img").src, alt: $("dialog img").alt};
        $("dialog img").click();
        return {first, playing, last, stopped, large, closed: !$("dialog").open};
        """,
    )
    assert (seen["first"], seen["playing"], seen["last"], seen["stopped"]) == ("0", "Stop", "2", "Play")
    assert seen["large"]["open"] and seen["large"]["src"].endswith("recon_epoch_003.png")
    assert seen["large"]["alt"] == "recon of vae after epoch 3" and seen["closed"]


def test_play_ends_where_there_is_one_epoch_and_where_the_reader_moves_the_slider(result):
    (result / "clip/metrics.csv").write_text("epoch,loss,seconds\n1,0.5,30\n")
    seen = in_browser(
        gallery.build(result),
        """
        $("#play-clip").click();
        $("#play-vae").click();
        $("#slider-vae").value = 2;
        await pause(2000);
        return {clip: $("#run-clip output").textContent, vae: $("#run-vae output").textContent,
          buttons: $$(".controls button").map(button => button.ariaLabel)};
        """,
    )
    assert seen["clip"] == "epoch 1 of 10"
    assert seen["buttons"] == ["Play the epochs of vae", "Play the epochs of clip"]


def test_curve_takes_a_tap(result):
    seen = in_browser(
        gallery.build(result),
        """
        const svg = $("#run-vae svg"), box = svg.getBoundingClientRect();
        const at = {clientX: box.left + 0.55 * box.width, clientY: box.top + 5, bubbles: true};
        svg.dispatchEvent(new PointerEvent("pointermove", at));
        svg.dispatchEvent(new PointerEvent("pointerleave", at));  // comes before the click on a touch screen
        svg.dispatchEvent(new MouseEvent("click", at));
        return {output: $("#run-vae output").textContent};
        """,
    )
    assert seen["output"] == "epoch 2 of 3"


def test_page_is_labelled_and_fits_a_phone(result):
    for name in ("diffusion", "latent_diffusion", "tiny_sd"):
        shutil.copytree(result / "clip", result / name)
        (result / name / "clip_latest.pt").rename(result / name / f"{name}_latest.pt")
    seen = in_browser(
        gallery.build(result),
        """
        document.documentElement.style.width = document.body.style.width = "340px";
        const wide = $$("main *, header *").filter(node => node.getBoundingClientRect().right > 345
          && !node.closest(".scroll")).map(node => node.tagName + "." + node.className);
        return {wide, text: document.body.textContent, reloading: $("#reloading").checked,
          slider: $("#slider-vae").getBoundingClientRect().width,
          unlabelled: $$("input:not([type=checkbox])").filter(input => !input.ariaLabel).length
            + $$("button").filter(button => !button.textContent && !button.querySelector("img[alt]")).length
            + $$("main img").filter(img => !img.alt).length};
        """,
    )
    assert seen["wide"] == [] and seen["unlabelled"] == 0 and seen["reloading"]
    assert seen["slider"] > 150
    assert "2 of 10 epochs" in seen["text"] and "</script><b>" in seen["text"]


def test_reader_finds_the_page_again_after_it_has_reloaded(result):
    """Four times, each with another element in focus; the page keeps what it has seen across reloads."""
    focused = ["slider-vae", "play-clip", "zoom-vae-recon", "flags-clip-title"]
    seen = in_browser(
        gallery.build(result),
        """
        const focused = FOCUSED, seen = JSON.parse(sessionStorage.seen ?? "[]");
        const returned = sessionStorage.seen && seen.length < focused.length;
        if (returned) seen.push({epoch: $("#run-vae output").textContent,
          latest: $("#run-clip output").textContent, flags: $("#flags-clip").open,
          folded: $("#flags-vae").open, focus: document.activeElement.id});
        sessionStorage.seen = JSON.stringify(seen);
        if (seen.length < focused.length) {
          $("#slider-vae").value = 0;
          $("#slider-vae").dispatchEvent(new Event("input"));
          $("#flags-clip").open = true;
          document.getElementById(focused[seen.length]).focus();
          await pause(60000);  // the page does not wait that long
        }
        return {seen};
        """.replace("FOCUSED", json.dumps(focused)),
        seconds=80,
    )["seen"]
    for each, focus in zip(seen, focused, strict=True):
        assert each["epoch"] == "epoch 1 of 3" and each["latest"] == "epoch 2 of 10"
        assert each["flags"] and not each["folded"] and each["focus"] == focus
