/** The terminal on the page. */

import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";

/** Lines that can be scrolled back to. */
const SCROLLBACK_LINES = 5000;

/** A terminal that fills its element. */
export function openTerminal(element: HTMLElement): Terminal {
  const terminal = new Terminal({
    cursorBlink: true,
    fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"),
    fontSize: matchMedia("(max-width: 720px)").matches ? 12 : 14,
    lineHeight: 1.15,
    scrollback: SCROLLBACK_LINES,
    theme: {
      background: "#0a121c",
      foreground: "#dbe7f3",
      cursor: "#5eead4",
      cursorAccent: "#0a121c",
      selectionBackground: "#2b4a68",
      black: "#17263a",
      red: "#fb7185",
      green: "#4ade80",
      yellow: "#fbbf24",
      blue: "#60a5fa",
      magenta: "#c084fc",
      cyan: "#5eead4",
      white: "#dbe7f3",
      brightBlack: "#64798f",
      brightRed: "#fda4af",
      brightGreen: "#86efac",
      brightYellow: "#fde68a",
      brightBlue: "#93c5fd",
      brightMagenta: "#d8b4fe",
      brightCyan: "#99f6e4",
      brightWhite: "#f8fafc",
    },
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(element);
  fit.fit();
  // The frame's delay keeps a fit, which changes the content's size, from being observed in a loop.
  new ResizeObserver(() => requestAnimationFrame(() => fit.fit())).observe(element);
  return terminal;
}
