/** Debian's Chromium, and the page as a user sees it. */

import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const ARTIFACTS = fileURLToPath(new URL("artifacts/", import.meta.url));

/** How the browser is started. */
export const OPTIONS = {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-dev-shm-usage",
  ],
};

/** Starts a browser with a fresh profile. */
export function launch() {
  return chromium.launch(OPTIONS);
}

/**
 * Opens the page. What it logs as an error is printed, to explain a failing test.
 *
 * @param {import("playwright-core").Browser} browser
 * @param {string} address
 * @param {import("playwright-core").BrowserContextOptions} options
 */
export async function open(browser, address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && console.error(`page: ${message.text()}`));
  page.on("pageerror", (error) => console.error(`page: ${error.stack}`));
  await page.goto(address);
  return page;
}

/** The text that the terminal shows. */
export function terminalText(page) {
  return page
    .locator("#terminal .xterm-rows > div")
    .allInnerTexts()
    .then((rows) => {
      return rows.map((row) => row.replaceAll("\u00a0", " ").trimEnd()).join("\n");
    });
}

/** Waits until the terminal shows what `pattern` matches; fails with what it showed. */
export async function waitForTerminal(page, pattern, timeoutMs) {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const text = await terminalText(page);
    if (pattern.test(text)) return text;
    if (await page.locator("#panel").isVisible()) {
      throw new Error(`the page shows a panel: ${await page.locator("#panel").innerText()}`);
    }
    if (Date.now() > deadline) throw new Error(`the terminal does not show ${pattern}, but:\n${text}`);
    await page.waitForTimeout(100);
  }
}

/** Waits until the page names `text` as the phase. */
export async function waitForPhase(page, text, timeoutMs) {
  try {
    await page.locator("#phase-text", { hasText: text }).waitFor({ timeout: timeoutMs });
  } catch {
    const phase = await page.locator("#phase-text").innerText();
    throw new Error(`the phase is "${phase}", not "${text}"; the terminal shows:\n${await terminalText(page)}`);
  }
}

/** Keeps a picture of the page. */
export async function screenshot(page, name) {
  mkdirSync(ARTIFACTS, { recursive: true });
  await page.screenshot({ path: `${ARTIFACTS}${name}.png` });
}

/** What the page has marked of its start: names and milliseconds from its opening. */
export function timeline(page) {
  return page.evaluate(() =>
    performance
      .getEntriesByType("mark")
      .filter(({ name }) => name.startsWith("dinghy:"))
      .slice(0, 24)
      .map(({ name, startTime }) => `${name.slice(7)} ${Math.round(startTime)}`)
      .join(", "),
  );
}
