/** The dialog about other machines: those of this origin, and one in another browser by texts to paste. */

import { DinghyError, type Machine, type PeerLink, type PeerOffer } from "dinghy";

import { element } from "./view.js";

/** Shows who is there, and joins and leaves. */
export class PeersDialog {
  readonly #dialog = element("peers") as HTMLDialogElement;
  readonly #own = element("peers-own");
  readonly #others = element("peers-others");
  readonly #join = element("peers-join");
  readonly #text = element("peers-text") as HTMLTextAreaElement;
  readonly #hint = element("peers-hint");
  #offer: PeerOffer | undefined;

  /**
   * @param machine the running machine, if there is one
   * @param closed called when the dialog is closed
   */
  constructor(
    private readonly machine: () => Machine | undefined,
    closed: () => void,
  ) {
    this.#join.onclick = () => this.#toggle();
    element("peers-offer").onclick = () => void this.#say(this.#makeOffer());
    element("peers-take").onclick = () => void this.#say(this.#take());
    element("peers-close").onclick = () => this.#dialog.close();
    this.#dialog.onclose = closed;
  }

  /** Opens it. */
  open(): void {
    this.show();
    this.#dialog.showModal();
  }

  /** Shows the state of the machine. */
  show(): void {
    const { own, others } = this.machine()?.peers ?? { own: undefined, others: [] };
    this.#own.textContent = own ?? "none";
    this.#others.textContent = others.length === 0 ? "none" : others.join(", ");
    this.#join.textContent = own === undefined ? "Join the other tabs" : "Leave";
    if (own === undefined) this.#offer = undefined;
  }

  #toggle(): void {
    const machine = this.machine();
    if (machine?.peers.own === undefined) machine?.joinPeers();
    else machine.leavePeers();
  }

  async #makeOffer(): Promise<string> {
    const offer = await this.#running().offerPeer();
    this.#offer = offer;
    this.#text.value = offer.text;
    this.#text.select();
    this.#watch(offer);
    return "Take this text to the other page, press Use text there, and paste its answer here.";
  }

  /** Takes an answer to the offer that was made, else an offer. */
  async #take(): Promise<string> {
    const text = this.#text.value.trim();
    if (this.#offer && text !== this.#offer.text) {
      await this.#offer.accept(text);
      this.#offer = undefined;
      return "Connecting …";
    }
    const link = await this.#running().answerPeer(text);
    this.#text.value = link.text;
    this.#text.select();
    this.#watch(link);
    return "Take this answer back to the other page, and press Use text there.";
  }

  #watch({ opened }: PeerLink): void {
    void this.#say(opened.then(() => "The other machine is there."));
  }

  #running(): Machine {
    const machine = this.machine();
    if (!machine || machine.exit) throw new DinghyError("There is no running machine.");
    return machine;
  }

  async #say(what: Promise<string>): Promise<void> {
    this.#hint.textContent = await what.catch((error: unknown) =>
      error instanceof Error ? error.message : String(error),
    );
  }
}
