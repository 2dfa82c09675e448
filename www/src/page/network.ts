/** The dialog about the way of the guest's connections, which can be changed for the next start. */

import type { NetworkOptions } from "dinghy";

import { element } from "./view.js";

/** Shows the way, and starts the page anew with another one. */
export class NetworkDialog {
  readonly #dialog = element("network") as HTMLDialogElement;
  readonly #state = element("network-state");
  readonly #fetch = element("network-fetch") as HTMLInputElement;
  readonly #https = element("network-https") as HTMLInputElement;

  /**
   * @param network the network of the page's machine
   * @param closed called when the dialog is closed
   */
  constructor(
    private readonly network: NetworkOptions,
    closed: () => void,
  ) {
    this.#fetch.onchange = () => this.#settle();
    element("network-apply").onclick = () => this.#apply();
    element("network-close").onclick = () => this.#dialog.close();
    this.#dialog.onclose = closed;
  }

  /** Opens it. */
  open(): void {
    const { network } = this;
    this.#state.textContent = describe(network);
    this.#fetch.checked = network.to === "fetch" || (network.to === "relay" && network.fetch !== undefined);
    // Which names go by fetch beside a relay only the address says.
    this.#fetch.disabled = network.to === "relay";
    this.#https.checked = "https" in network && network.https.length > 0;
    this.#settle();
    this.#dialog.showModal();
  }

  #settle(): void {
    this.#https.disabled = !this.#fetch.checked;
    if (!this.#fetch.checked) this.#https.checked = false;
  }

  #apply(): void {
    const address = new URL(location.href);
    const { searchParams } = address;
    if (this.network.to !== "relay") {
      if (this.#fetch.checked) searchParams.set("net", "fetch");
      else searchParams.delete("net");
    }
    if (!this.#https.checked) searchParams.delete("https");
    else if (!searchParams.has("https")) searchParams.set("https", "443");
    if (address.href === location.href) this.#dialog.close();
    else location.assign(address);
  }
}

function describe(network: NetworkOptions): string {
  switch (network.to) {
    case "none":
      return "The guest has no network card.";
    case "nowhere":
      return "The guest's connections lead nowhere but to this page and to other machines that have joined.";
    case "fetch":
      return "The guest reaches web servers by this browser's fetch: those that let pages read what they send.";
    case "relay": {
      const names = network.fetch === undefined ? "" : `, and ${network.fetch.join(", ")} by this browser's fetch`;
      return `The guest's connections go over the relay ${String(network.relay)}${names}.`;
    }
  }
}
