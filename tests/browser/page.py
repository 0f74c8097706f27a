#!/usr/bin/env python3
"""Opens the status page in a headless Chromium while documents flow, and holds it to what it promises.

Needs Debian's chromium and a built program; nothing but Python's own library, and nothing leaves the machine. The screenshots in
target/page are to be looked at.
"""

import base64
import json
import os
import pathlib
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
RIVERBED = ROOT / "target/debug/riverbed"
SHOTS = ROOT / "target/page"
PATIENCE = 60


class Browser:
    """Chromium, spoken to over a pipe: JSON messages, each ended by a zero byte."""

    def __init__(self, profile):
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        self.input, self.output = to_write, from_read

        def pipes():
            # Chromium reads from 3 and writes to 4. Out of the way first: a pipe may have one of these numbers itself.
            reads, writes = os.dup(to_read), os.dup(from_write)
            os.dup2(reads, 3)
            os.dup2(writes, 4)

        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
        arguments += ["--no-first-run", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(
            ["chromium", *arguments], preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(from_write)
        self.buffer, self.number, self.events, self.session = b"", 0, [], None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.ask(f"{domain}.enable")

    def ask(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.input, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise SystemExit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def receive(self):
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            if not select.select([self.output], [], [], max(0, end - time.monotonic()))[0]:
                raise SystemExit("Chromium says nothing")
            self.buffer += os.read(self.output, 1 << 16)
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def value(self, expression):
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise SystemExit(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def until(self, expression, what):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.value(expression):
                return
            time.sleep(0.1)
        raise SystemExit(f"never: {what}")

    def shot(self, name):
        # Twice: what the first one lays out is painted in the second.
        for _ in range(2):
            image = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        (SHOTS / f"{name}.png").write_bytes(base64.b64decode(image))


def check(holds, what):
    print(("ok    " if holds else "FAILED ") + what)
    return bool(holds)


def number(browser, name):
    return int(browser.value(f"document.getElementById('{name}').textContent").replace(",", "") or 0)


def drop(folder, name, text):
    elsewhere = folder.parent / "elsewhere"
    elsewhere.write_text(text)
    elsewhere.rename(folder / name)


def main():
    shutil.rmtree(SHOTS, ignore_errors=True)
    SHOTS.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        folder = place / "drop"
        folder.mkdir()
        (place / "pipeline.toml").write_text(
            """
            [source]
            path = "drop"
            settle = "50ms"
            max-file-size = "64KiB"
            [bedrock]
            endpoint = "emulator"
            max-in-flight = 8
            [sink]
            path = "out"
            [budget]
            max-usd-per-day = 5.0
            [[chat]]
            name = "summary"
            model = "amazon.nova-micro-v1:0"
            prompt = "Sum up: {{text}}"
            [status]
            listen = "127.0.0.1:0"
            [emulator]
            latency = "2s"
            """
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RIVERBED_"))}
        environment.update(AWS_EC2_METADATA_DISABLED="true", NO_COLOR="1")
        daemon = subprocess.Popen(
            [RIVERBED, "run"], cwd=place, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        browser = None
        try:
            line = next(line for line in daemon.stderr if "shown over HTTP" in line)
            origin = "http://" + re.search(r"address=(\S+)", line)[1]
            browser = Browser(place / "profile")
            return look(browser, folder, origin)
        finally:
            if browser:
                browser.process.kill()
                browser.process.wait()
            daemon.terminate()
            daemon.wait()


def look(browser, folder, origin):
    size = {"width": 1200, "height": 1400, "deviceScaleFactor": 1, "mobile": False}
    browser.ask("Emulation.setDeviceMetricsOverride", **size)
    browser.ask("Page.navigate", url=origin + "/")
    browser.until("document.body && document.body.dataset.live === 'yes'", "the page shows a status")
    good = [check(True, "the page loads and gets the status")]
    state = browser.value("document.getElementById('state').textContent")
    good.append(check("following its folder" in state, f"it says what the daemon is about: {state}"))

    seen = set()
    for round_ in range(6):
        for document in range(6):
            drop(folder, f"handbook-{round_}-{document}.md", f"# Part {round_}\n\n" + f"Paragraph {document} of {round_}. " * 40)
        # Calls take longer than the page waits between two looks, so it cannot miss them.
        end = time.monotonic() + 3
        while time.monotonic() < end:
            seen.add((number(browser, "done"), number(browser, "in-flight")))
            time.sleep(0.1)
    browser.until("/^[1-9]/.test(document.getElementById('questions').textContent)", "answers of a chat model are counted")
    good.append(check(not browser.value("document.getElementById('ask').hidden"), "the questions have a stage of their own"))
    done = {done for done, _ in seen}
    good.append(check(len(done) >= 3, f"numbers move while documents flow: {sorted(done)} done"))
    good.append(check(any(in_flight for _, in_flight in seen), "calls in flight are seen"))

    # A document that fails, one whose name would be a page's own element, and one of another script.
    drop(folder, "too-large.txt", "words " * 20_000)
    drop(folder, "<img src=x onerror=alert(1)>.txt", "A name is text.")
    drop(folder, "手册.md", "# 手册\n\n文字。")
    browser.until("document.getElementById('failed').textContent.includes('too-large.txt')", "the failed document appears")
    good.append(check(True, "a failed document appears with its reason"))
    browser.until("document.getElementById('ended').textContent.includes('onerror=alert')", "the odd name appears")
    good.append(check(browser.value("document.images.length") == 0, "a name with mark-up in it stays text"))
    browser.until("document.getElementById('ended').textContent.includes('手册')", "the name in another script appears")
    browser.until("document.querySelector('#rate polyline').getAttribute('points').length > 0", "the plot has a sample")
    good.append(check(True, "the plots have samples"))

    good.append(check(browser.value("document.querySelectorAll('h1').length") == 1, "one heading of the first rank"))
    unnamed = """[...document.querySelectorAll('section, [role=region], table, svg, meter')].filter((element) =>
        !element.getAttribute('aria-label') && !element.getAttribute('aria-labelledby') && !element.querySelector('caption')).length"""
    good.append(check(browser.value(unnamed) == 0, "sections, tables, plots and meters have names"))
    labels = """[...document.querySelectorAll('[aria-labelledby]')].every((element) =>
        element.getAttribute('aria-labelledby').split(' ').every((id) => document.getElementById(id)))"""
    good.append(check(browser.value(labels), "what names them is there"))
    good.append(check(browser.value("[...document.querySelectorAll('th')].every((cell) => cell.scope)"), "heads of tables say of what"))
    reached = """[...document.querySelectorAll('.wide')].every((element) => element.tabIndex === 0)"""
    good.append(check(browser.value(reached), "what scrolls can be reached with the keyboard"))

    contrast = """(() => {
        const parts = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((part) => { part /= 255;
            return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; });
        const light = (colour) => { const [r, g, b] = parts(colour); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const ground = light(getComputedStyle(document.querySelector('section')).backgroundColor);
        return Math.min(...[...document.querySelectorAll('section *')].filter((element) => element.textContent && !element.closest('svg')).map((element) => {
            const ink = light(getComputedStyle(element).color);
            return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05); }));
    })()"""
    for scheme in ["light", "dark"]:
        browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        least = browser.value(contrast)
        good.append(check(least >= 4.5, f"{scheme}: the faintest text has a contrast of {least:.1f} (WCAG AA asks for 4.5)"))
        browser.shot(scheme)
    browser.ask("Emulation.setEmulatedMedia", features=[])
    browser.ask("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    fits = browser.value("document.documentElement.scrollWidth <= window.innerWidth")
    good.append(check(fits, "on a phone nothing lies beside the screen"))
    browser.shot("phone")

    browser.value("1")
    errors, requests = [], []
    for event in browser.events:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            errors.append(parameters["exceptionDetails"].get("text"))
        if method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            errors.append(json.dumps(parameters["args"]))
        if method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            errors.append(parameters["entry"]["text"])
        if method == "Network.requestWillBeSent":
            requests.append(parameters["request"]["url"])
    good.append(check(not errors, f"no error on the console: {errors}"))
    outside = [url for url in requests if not url.startswith((origin + "/", "data:"))]
    good.append(check(requests and not outside, f"no request to anybody else: {len(requests)} requests, outside {outside}"))
    return all(good)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
