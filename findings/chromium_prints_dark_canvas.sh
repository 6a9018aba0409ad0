#!/usr/bin/env bash
# Chromium 150 prints a page that is read in dark mode with light colours, but its canvases are still dark's, in beforeprint too.
#
# What it does: for print the media query `prefers-color-scheme: dark` turns false, and text and SVG take the colours of light.
#   At `beforeprint` it is still true, and the page still has the width of the window. The turn is told later, by the `change`
#   event of the media query, and what is drawn in that event is printed.
# One would expect: `beforeprint` is the place to draw a canvas anew for paper.
# Seen: three canvases in the ink of the page, white in dark mode. Printed are white, white (drawn anew at beforeprint) and
#   black (drawn anew at change), on white paper. The text beside them is black.
# For users: a report's curves on canvas vanish from the PDF of everyone who works in dark mode. Draw anew on the `change` of
#   matchMedia("(prefers-color-scheme: dark)"), or use SVG with currentColor.
#
# Needs the chromium of the system, as of Debian; its version is printed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
command -v chromium >/dev/null || { echo "install chromium first: apt-get install chromium"; exit 1; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pypdf==7.1.1 pillow==13.0.0
cat > "$folder/page.html" <<'HTML'
<!doctype html>
<style>:root { color-scheme: light dark }</style>
<pre></pre>
<canvas width=40></canvas><canvas width=41></canvas><canvas width=42></canvas>
<script>
const dark = matchMedia("(prefers-color-scheme: dark)")
const canvases = document.querySelectorAll("canvas")
function draw(canvas) {
  const pen = canvas.getContext("2d")
  pen.fillStyle = dark.matches ? "white" : "black"
  pen.fillRect(0, 0, 99, 999)
}
function tell(when) {
  const ink = getComputedStyle(document.body).color
  document.querySelector("pre").textContent += `${when}: dark is ${dark.matches}, ink ${ink}\n`
}
canvases.forEach(draw)
tell("load")
addEventListener("beforeprint", () => { tell("beforeprint"); draw(canvases[1]) })
dark.addEventListener("change", () => { tell("change"); draw(canvases[2]) })
</script>
HTML
chromium --version 2>/dev/null
for scheme in 1 0; do  # 1 is light, 0 is dark
    chromium --headless --no-sandbox --disable-gpu --user-data-dir="$folder/profile" --no-pdf-header-footer \
        --blink-settings=preferredColorScheme=$scheme --print-to-pdf="$folder/$scheme.pdf" "file://$folder/page.html" >/dev/null 2>&1
done
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

from pypdf import PdfReader

NAMES = {(0, 0, 0): "black", (255, 255, 255): "white"}


def printed(path: str) -> tuple[list[str], str]:
    """The colours of the three canvases, known by their widths, and the log of the page."""
    page = PdfReader(path).pages[0]
    images = sorted((image.image.convert("RGB") for image in page.images), key=lambda image: image.width)
    return [NAMES[image.getpixel((5, 5))] for image in images], page.extract_text().strip()


seen = {name: printed(f"{sys.argv[1]}/{scheme}.pdf") for scheme, name in ((1, "light"), (0, "dark"))}
for name, (colours, log) in seen.items():
    print(f"{name} mode: canvases {colours} (as loaded, drawn anew at beforeprint, at change)")
    print("  " + log.replace("\n", "\n  "))
if seen["light"][0] != ["black"] * 3:
    raise SystemExit("changed: printing in light mode")
if "beforeprint: dark is true" not in seen["dark"][1] or "change: dark is false, ink rgb(0, 0, 0)" not in seen["dark"][1]:
    raise SystemExit("changed: what beforeprint and change see")
if seen["dark"][0] != ["white", "white", "black"]:
    raise SystemExit("changed: the canvases printed from dark mode")
PYTHON
